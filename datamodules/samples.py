"""Samples of shards: decoding, and collation into batches."""

import json
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from vitrine.core.batch import Batch
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


def decode(raw: RawSample, index: ShardIndex, folder: Path | str) -> Sample:
    """A sample as tv_tensors, so that geometric transforms apply to its annotation too.

    Args:
        raw: the undecoded sample.
        index: of its split, which says what it is annotated with.
        folder: of its split, for messages.

    Raises:
        SampleError: for a missing or broken image.
    """
    record = record_of(raw)
    name = f"{raw['__key__']} in {folder}"
    extension = next((ext for ext in IMAGE_EXTENSIONS if ext in raw), None)
    if extension is None:
        raise SampleError(f"{name} has no image; run python -m vitrine.shards verify {folder}.")
    image = tv_tensors.Image(F.pil_to_tensor(_open(raw[extension], name).convert("RGB")))
    sample: Sample = {"key": raw["__key__"], "label": _label(record["label"], index), "image": image}
    for annotation in index.annotations:
        sample.update(_ANNOTATIONS[annotation](raw, record, tuple(image.shape[-2:]), name))
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
        image = Image.open(BytesIO(data))
        image.load()
    except Exception as error:  # Pillow's decoders raise many kinds
        raise SampleError(f"The image of {name} is broken ({error}); convert the set again.") from error
    return image


Size = tuple[int, ...]
"""(H, W) of the image."""


def _boxes(raw: RawSample, record: dict[str, Any], size: Size, name: str) -> Sample:  # noqa: ARG001
    boxes = torch.tensor(record["boxes"], dtype=torch.float32).reshape(-1, 4)
    types = {"box_labels": torch.int64, "box_difficult": torch.bool}
    of_each_box = {entry: torch.tensor(record[entry], dtype=types[entry]) for entry in BOX_ENTRIES if entry in record}
    return {"boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=size), **of_each_box}


def _parts(raw: RawSample, record: dict[str, Any], size: Size, name: str) -> Sample:  # noqa: ARG001
    parts = torch.tensor(record["parts"], dtype=torch.float32).reshape(-1, 3)
    return {"points": tv_tensors.KeyPoints(parts[:, :2], canvas_size=size), "visible": parts[:, 2]}


def _mask(raw: RawSample, record: dict[str, Any], size: Size, name: str) -> Sample:  # noqa: ARG001
    mask = F.pil_to_tensor(_open(raw["mask.png"], f"the mask of {name}"))[:1]
    return {"mask": tv_tensors.Mask((mask != 0).to(torch.uint8))}


def _objects(raw: RawSample, record: dict[str, Any], size: Size, name: str) -> Sample:  # noqa: ARG001
    objects = F.pil_to_tensor(_open(raw["objects.png"], f"the objects of {name}"))[:1]
    return {"objects": tv_tensors.Mask(objects.to(torch.int64))}


_ANNOTATIONS: dict[str, Callable[[RawSample, dict[str, Any], Size, str], Sample]] = {
    "boxes": _boxes,
    "parts": _parts,
    "mask": _mask,
    "objects": _objects,
}
