"""Samples of shards: decoding, and collation into batches."""

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
from vitrine.data.orientation import UPRIGHT, Orientation, Size, orientation_of
from vitrine.data.plain_jpegs import plain_jpeg
from vitrine.data.shards.counterfactuals import unstacked_images
from vitrine.data.shards.rules import RECORD_ANNOTATIONS, RecordRules
from vitrine.data.shards.schema import BOX_ENTRIES, COUNTERFACTUALS, IMAGE_EXTENSIONS, ShardIndex
from vitrine.data.shards.stored_sample import missing_members, parse_record, picture_problems, size_problems
from vitrine.data.source_windows import SOURCE_BOXES, SOURCE_PREFIX

RawSample = dict[str, Any]
"""An undecoded sample: bytes by file extension, its key under ``__key__``, its shard under ``__url__``, its row."""
Sample = dict[str, Any]
"""A decoded sample, by the names of `Batch`."""
LISTED = frozenset({"key", *SOURCE_BOXES, *(f"{SOURCE_PREFIX}{name}" for name in SOURCE_BOXES)})
"""Entries of a batch that are lists with an entry per sample."""

_LONGEST_PROBLEM = 300
_VERIFY = "check its split with python -m vitrine.shards verify, or convert it again"


class SampleError(ValueError):
    """One sentence about a sample that cannot be read.

    A DataLoader raises a worker's error again with the worker's traceback as its message; the sentence stands at the end.

    Args:
        message: the sentence, or a traceback that ends in it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.rpartition(f"{type(self).__name__}: ")[2].strip())


def record_of(raw: RawSample, folder: Path | str = "a shard") -> dict[str, Any]:
    """The JSON record of an undecoded sample, a `SampleRecord`; its values are not checked.

    Args:
        raw: the undecoded sample.
        folder: of its split, for messages.

    Raises:
        SampleError: where it has none, or one that cannot be read.
    """
    try:
        return parse_record(raw["json"])
    except KeyError:
        raise SampleError(f"{_name(raw, folder)} has no json; {_VERIFY}.") from None
    except ValueError as error:
        raise SampleError(f"{_name(raw, folder)}: {error}; {_VERIFY}.") from None


def checked_record(raw: RawSample, rules: RecordRules, folder: Path | str) -> dict[str, Any]:
    """The JSON record of an undecoded sample that has all members and a label of its split.

    Args:
        raw: the undecoded sample.
        rules: of the index of its split.
        folder: of its split, for messages.

    Raises:
        SampleError: where it does not.
    """
    record = record_of(raw, folder)
    if not any(extension in raw for extension in IMAGE_EXTENSIONS):
        raise SampleError(f"{_name(raw, folder)} has no image; {_VERIFY}.")
    _refuse(rules.label_problems(record.get("label")) or missing_members(raw, rules), _name(raw, folder))
    return record


def _refuse(problems: Sequence[str], name: str) -> None:
    if problems:
        raise SampleError(f"{name}: {problems[0][:_LONGEST_PROBLEM]}; {_VERIFY}.")


def decode(
    raw: RawSample, index: ShardIndex, folder: Path | str, mode: Mode = "RGB", rules: RecordRules | None = None
) -> Sample:
    """A sample as tv_tensors, so that geometric transforms apply to its annotation too.

    Args:
        raw: the undecoded sample.
        index: of its split, which says what it is annotated with.
        folder: of its split, for messages.
        mode: colours of the image.
        rules: of the index, made from it without them.

    Raises:
        SampleError: for a missing or broken image, and where anything else is not as the index and the record say.
    """
    rules = RecordRules.of_index(index) if rules is None else rules
    record, name = checked_record(raw, rules, folder), _name(raw, folder)
    extension = next(extension for extension in IMAGE_EXTENSIONS if extension in raw)
    image, stored_size, orientation = _image(raw[extension], extension, mode, record, name)
    record = {"width": stored_size[0], "height": stored_size[1], **record}  # files of others may not have them
    others = set(RECORD_ANNOTATIONS) - rules.annotations  # which nobody reads
    _refuse(rules.problems({entry: value for entry, value in record.items() if entry not in others}), name)
    sample: Sample = {"key": raw["__key__"], "label": _label(record["label"], index), "image": tv_tensors.Image(image)}
    canvas = _Canvas(stored_size, orientation, mode)
    for annotation in index.annotations:
        sample.update(_ANNOTATIONS[annotation](raw, record, canvas, name))
    return sample


def _name(raw: RawSample, folder: Path | str) -> str:
    """The sample's key, the file name of its shard where that is known, and the folder."""
    shard = str(raw["__url__"]).rpartition("/")[2] + " of " if "__url__" in raw else ""
    return f"{raw['__key__']} in {shard}{folder}"


def collate(samples: Sequence[Sample]) -> Batch:
    """Stacks prepared samples; keys, boxes and the entries of each box stay lists."""
    batch: Any = {
        name: [sample[name] for sample in samples]
        if name in LISTED
        else _stacked([torch.as_tensor(sample[name]) for sample in samples])
        for name in samples[0]
    }
    return batch  # type: ignore[no-any-return]


def _stacked(entries: Sequence[Tensor]) -> Tensor:
    """(B, …) entries of all samples; pixels that stand side by side, as decoders leave them, stay so."""
    if entries[0].ndim == 3 and entries[0].stride(0) == 1:
        return torch.stack([entry.permute(1, 2, 0) for entry in entries]).permute(0, 3, 1, 2)
    return torch.stack(list(entries))


def _label(label: int | list[int], index: ShardIndex) -> Tensor:
    if not index.multi_label:
        return torch.tensor(label)
    multi_hot = torch.zeros(len(index.classes))
    multi_hot[label] = 1
    return multi_hot


def _image(
    data: bytes, extension: str, mode: Mode, record: dict[str, Any], name: str
) -> tuple[Tensor, Size, Orientation]:
    """(C, H, W) pixels, upright; width and height as they are stored; and how they were turned."""
    pixels = plain_jpeg(data) if mode == "RGB" else None
    if pixels is not None:
        size = (pixels.shape[2], pixels.shape[1])
        _refuse(size_problems(extension, size, record), name)
        return pixels, size, UPRIGHT
    stored = _open(data, extension, record, name)
    orientation = orientation_of(stored)
    upright = _in_mode(orientation.pixels(stored), mode, f"The image of {name}")
    return F.pil_to_tensor(upright), stored.size, orientation


def _open(data: bytes, extension: str, record: dict[str, Any], name: str) -> Image.Image:
    what = {
        "mask.png": "the mask of ",
        "objects.png": "the objects of ",
        COUNTERFACTUALS: "the counterfactuals of ",
    }.get(extension, "")
    try:
        image = open_picture(BytesIO(data))
        image.load()
    except PictureSizeError as error:
        raise SampleError(f"{name} {error}.") from error
    except Exception as error:  # Pillow's decoders raise many kinds
        raise SampleError(f"The image of {what}{name} is broken ({error}); convert the set again.") from error
    _refuse(picture_problems(extension, image, record), name)
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
    mode: Mode = "RGB"
    """Colours of the decoded image."""

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


def _mask(raw: RawSample, record: dict[str, Any], canvas: _Canvas, name: str) -> Sample:
    mask = canvas.values(_open(raw["mask.png"], "mask.png", record, name))
    return {"mask": tv_tensors.Mask((mask != 0).to(torch.uint8))}


def _objects(raw: RawSample, record: dict[str, Any], canvas: _Canvas, name: str) -> Sample:
    objects = canvas.values(_open(raw["objects.png"], "objects.png", record, name))
    return {"objects": tv_tensors.Mask(objects.to(torch.int64))}


def _counterfactuals(raw: RawSample, record: dict[str, Any], canvas: _Canvas, name: str) -> Sample:
    stacked = _open(raw[COUNTERFACTUALS], COUNTERFACTUALS, record, name)
    images = [
        F.pil_to_tensor(_in_mode(canvas.orientation.pixels(image), canvas.mode, f"A counterfactual image of {name}"))
        for image in unstacked_images(stacked, record["counterfactuals"])
    ]
    return {"counterfactuals": tv_tensors.Image(torch.stack(images))}


_ANNOTATIONS: dict[str, Callable[[RawSample, dict[str, Any], _Canvas, str], Sample]] = {
    "boxes": _boxes,
    "parts": _parts,
    "mask": _mask,
    "objects": _objects,
    "counterfactuals": _counterfactuals,
}
