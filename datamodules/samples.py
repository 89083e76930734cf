"""Samples of shards: decoding, and collation into batches."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from vitrine.core.batch import Batch
from vitrine.core.picture_files import PictureSizeError, open_picture
from vitrine.data.colours import Mode, to_mode
from vitrine.data.orientation import Orientation, Size, orientation_of
from vitrine.data.shards.schema import BOX_ENTRIES, IMAGE_EXTENSIONS, ShardIndex

RawSample = dict[str, Any]
"""An undecoded sample: bytes by file extension, its key under ``__key__``, its place in the split under ``row``."""
Sample = dict[str, Any]
"""A decoded sample, by the names of `Batch`."""
LISTED = frozenset({"key", "boxes", *BOX_ENTRIES})
"""Entries of a batch that are lists with an entry per sample."""


class SampleError(ValueError):
    """One sentence about a sample that cannot be read.

    A DataLoader raises a worker's error again with the worker's traceback as its message; the sentence stands at the end.

    Args:
        message: the sentence, or a traceback that ends in it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.rpartition(f"{type(self).__name__}: ")[2].strip())


def record_of(raw: RawSample) -> dict[str, Any]:
    """The JSON record of an undecoded sample, a `SampleRecord`."""
    record: dict[str, Any] = json.loads(raw["json"])
    return record


def decode(raw: RawSample, index: ShardIndex, folder: Path | str, mode: Mode = "RGB") -> Sample:
    """A sample as tv_tensors, so that geometric transforms apply to its annotation too.

    Args:
        raw: the undecoded sample.
        index: of its split, which says what it is annotated with.
        folder: of its split, for messages.
        mode: colours of the image.

    Raises:
        SampleError: for a missing or broken image, or one whose range of values is unknown.
    """
    record = record_of(raw)
    name = f"{raw['__key__']} in {folder}"
    extension = next((ext for ext in IMAGE_EXTENSIONS if ext in raw), None)
    if extension is None:
        raise SampleError(f"{name} has no image; run python -m vitrine.shards verify {folder}.")
    stored = _open(raw[extension], name)
    orientation = orientation_of(stored)
    image = tv_tensors.Image(F.pil_to_tensor(_in_mode(orientation.pixels(stored), mode, f"The image of {name}")))
    sample: Sample = {"key": raw["__key__"], "label": _label(record["label"], index), "image": image}
    canvas = _Canvas(stored.size, orientation)
    for annotation in index.annotations:
        sample.update(_ANNOTATIONS[annotation](raw, record, canvas, name))
    return sample


def collate(samples: Sequence[Sample]) -> Batch:
    """Stacks prepared samples; keys, boxes and the entries of each box stay lists."""
    batch: Any = {
        name: [sample[name] for sample in samples]
        if name in LISTED
        else torch.stack([torch.as_tensor(sample[name]) for sample in samples])
        for name in samples[0]
    }
    return batch  # type: ignore[no-any-return]


def _label(label: int | list[int], index: ShardIndex) -> Tensor:
    if not index.multi_label:
        return torch.tensor(label)
    multi_hot = torch.zeros(len(index.classes))
    multi_hot[label] = 1
    return multi_hot


def _open(data: bytes, name: str) -> Image.Image:
    try:
        image = open_picture(BytesIO(data))
        image.load()
    except PictureSizeError as error:
        raise SampleError(f"{name} {error}.") from error
    except Exception as error:  # Pillow's decoders raise many kinds
        raise SampleError(f"The image of {name} is broken ({error}); convert the set again.") from error
    return image


def _in_mode(picture: Image.Image, mode: Mode, name: str) -> Image.Image:
    try:
        return to_mode(picture, mode, name)
    except ValueError as error:
        raise SampleError(str(error)) from error


@dataclass(frozen=True)
class _Canvas:
    """An image that its annotation is placed on; shards of earlier releases hold images that do not stand upright."""

    stored: Size
    """Width and height of its pixels in the shard."""
    orientation: Orientation
    """By which they are turned, and with them the annotation."""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the upright image."""
        return self.orientation.turned_size(self.stored)[::-1]

    def values(self, picture: Image.Image) -> Tensor:
        """(1, H, W) values of a mask or object map on the upright image."""
        values: Tensor = F.pil_to_tensor(self.orientation.pixels(picture))[:1]
        return values


def _boxes(raw: RawSample, record: dict[str, Any], canvas: _Canvas, name: str) -> Sample:  # noqa: ARG001
    boxes = canvas.orientation.boxes(record["boxes"], canvas.stored)
    types = {"box_labels": torch.int64, "box_difficult": torch.bool}
    of_each_box = {entry: torch.tensor(record[entry], dtype=types[entry]) for entry in BOX_ENTRIES if entry in record}
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return {"boxes": tv_tensors.BoundingBoxes(corners, format="XYXY", canvas_size=canvas.size), **of_each_box}


def _parts(raw: RawSample, record: dict[str, Any], canvas: _Canvas, name: str) -> Sample:  # noqa: ARG001
    points = canvas.orientation.points([(part[0], part[1]) for part in record["parts"]], canvas.stored)
    visible = torch.tensor([part[2] for part in record["parts"]], dtype=torch.float32)
    places = torch.tensor(points, dtype=torch.float32).reshape(-1, 2)
    return {"points": tv_tensors.KeyPoints(places, canvas_size=canvas.size), "visible": visible}


def _mask(raw: RawSample, record: dict[str, Any], canvas: _Canvas, name: str) -> Sample:  # noqa: ARG001
    mask = canvas.values(_open(raw["mask.png"], f"the mask of {name}"))
    return {"mask": tv_tensors.Mask((mask != 0).to(torch.uint8))}


def _objects(raw: RawSample, record: dict[str, Any], canvas: _Canvas, name: str) -> Sample:  # noqa: ARG001
    objects = canvas.values(_open(raw["objects.png"], f"the objects of {name}"))
    return {"objects": tv_tensors.Mask(objects.to(torch.int64))}


_ANNOTATIONS: dict[str, Callable[[RawSample, dict[str, Any], _Canvas, str], Sample]] = {
    "boxes": _boxes,
    "parts": _parts,
    "mask": _mask,
    "objects": _objects,
}
