"""Samples of shards: decoding, and collation into batches."""

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from vitrine.core.batch import Batch
from vitrine.data.shards.rules import RecordRules
from vitrine.data.shards.schema import BOX_ENTRIES, IMAGE_EXTENSIONS, ShardIndex
from vitrine.data.shards.stored_sample import missing_members, parse_record, picture_problems

RawSample = dict[str, Any]
"""An undecoded sample: bytes by file extension, its key under ``__key__``, its shard under ``__url__``, its row."""
Sample = dict[str, Any]
"""A decoded sample, by the names of `Batch`."""
LISTED = frozenset({"key", "boxes", *BOX_ENTRIES})
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


def record_of(raw: RawSample) -> dict[str, Any]:
    """The JSON record of an undecoded sample, a `SampleRecord`; its values are not checked.

    Raises:
        SampleError: where it has none, or one that cannot be read.
    """
    try:
        return parse_record(raw["json"])
    except KeyError:
        raise SampleError(f"{_name(raw)} has no json; {_VERIFY}.") from None
    except ValueError as error:
        raise SampleError(f"{_name(raw)}: {error}; {_VERIFY}.") from None


def checked_record(raw: RawSample, rules: RecordRules) -> dict[str, Any]:
    """The JSON record of an undecoded sample whose members and entries agree with its split.

    Raises:
        SampleError: where they do not.
    """
    record = record_of(raw)
    problems = rules.problems(record) or missing_members(raw, rules)
    if not any(extension in raw for extension in IMAGE_EXTENSIONS):
        raise SampleError(f"{_name(raw)} has no image; {_VERIFY}.")
    if problems:
        raise SampleError(f"{_name(raw)}: {_short(problems[0])}; {_VERIFY}.")
    return record


def decode(raw: RawSample, index: ShardIndex, rules: RecordRules) -> Sample:
    """A sample as tv_tensors, so that geometric transforms apply to its annotation too.

    Args:
        raw: the undecoded sample.
        index: of its split, which says what it is annotated with.
        rules: of the index.

    Raises:
        SampleError: for a missing or broken image, and where anything else is not as the index and the record say.
    """
    record, name = checked_record(raw, rules), _name(raw)
    extension = next(extension for extension in IMAGE_EXTENSIONS if extension in raw)
    picture = _open(raw[extension], extension, record, name)
    image = tv_tensors.Image(F.pil_to_tensor(picture.convert("RGB")))
    sample: Sample = {"key": raw["__key__"], "label": _label(record["label"], index), "image": image}
    for annotation in index.annotations:
        sample.update(_ANNOTATIONS[annotation](raw, record, tuple(image.shape[-2:]), name))
    return sample


def _name(raw: RawSample) -> str:
    folder, _, file = raw["__url__"].rpartition("/")
    return f"{raw['__key__']} in {file} of {folder}"


def _short(problem: str) -> str:
    return problem if len(problem) <= _LONGEST_PROBLEM else f"{problem[:_LONGEST_PROBLEM]}…"


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


def _open(data: bytes, extension: str, record: dict[str, Any], name: str) -> Image.Image:
    try:
        image = Image.open(BytesIO(data))
        image.load()
    except Exception as error:  # Pillow's decoders raise many kinds
        what = {"mask.png": "the mask of ", "objects.png": "the objects of "}.get(extension, "")
        raise SampleError(f"The image of {what}{name} is broken ({error}); convert the set again.") from error
    if problems := picture_problems(extension, image, record):
        raise SampleError(f"{name}: {problems[0]}; {_VERIFY}.")
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
    mask = F.pil_to_tensor(_open(raw["mask.png"], "mask.png", record, name))[:1]
    return {"mask": tv_tensors.Mask((mask != 0).to(torch.uint8))}


def _objects(raw: RawSample, record: dict[str, Any], size: Size, name: str) -> Sample:  # noqa: ARG001
    objects = F.pil_to_tensor(_open(raw["objects.png"], "objects.png", record, name))[:1]
    return {"objects": tv_tensors.Mask(objects.to(torch.int64))}


_ANNOTATIONS: dict[str, Callable[[RawSample, dict[str, Any], Size, str], Sample]] = {
    "boxes": _boxes,
    "parts": _parts,
    "mask": _mask,
    "objects": _objects,
}
