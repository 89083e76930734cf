"""Samples as converters list them, and their encoding as members of a shard."""

import json
import operator
import stat
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from PIL import Image

from vitrine.data.orientation import Orientation, Size, orientation_of, stored_size
from vitrine.data.shards.boxes import clip_boxes
from vitrine.data.shards.counterfactuals import stacked_images
from vitrine.data.shards.images import EncodedImage, encode_image, encode_objects
from vitrine.data.shards.masks import constant_remarks, encode_mask
from vitrine.data.shards.picture_folders import printable
from vitrine.data.shards.placement import annotation_orientation, place_map
from vitrine.data.shards.rules import RecordRules
from vitrine.data.shards.schema import ANNOTATIONS, COUNTERFACTUALS, SampleRecord

Source = Path | bytes | Callable[[], bytes]
"""Source of an image's bytes: a file, the bytes, or an importable function that returns them."""

_RESERVED = frozenset(SampleRecord.__annotations__)


@dataclass(frozen=True)
class Sample:
    """One sample of a data set; None for annotations that the set does not have.

    Example:
        >>> sample = Sample(make_key("birds/a.jpg"), Path("birds/a.jpg"), label=3, boxes=[(0, 0, 40, 30)])
        >>> sample.key, sample.labels
        ('birds__a', [3])
    """

    key: str
    """Unique in the split, without dots and slashes; see `make_key`."""
    image: Source
    label: int | Sequence[int]
    boxes: Sequence[Sequence[float]] | None = None
    """x0, y0, x1, y1 in pixels, half open; empty for an image without boxes in a set that has boxes."""
    box_labels: Sequence[int] | None = None
    """Class index of each box; all samples of a split have it, or none."""
    box_difficult: Sequence[float] | None = None
    """0 or 1 for each box; all samples of a split have it, or none."""
    parts: Sequence[Sequence[float]] | None = None
    """x, y, visible of each part, in the split's order of parts."""
    mask: Source | None = None
    objects: Source | None = None
    counterfactuals: Sequence[Source] | None = None
    """Images of the same size, each showing the same without one object: image i without object i + 1; all samples of a split
    have as many, and as many as it has ``object_names``, where it has these."""
    annotated_size: Size | None = None
    """Width and height of the image on which boxes and parts were drawn: as stored in its file, or upright by its EXIF
    orientation; None where no annotation tells, for an image as stored."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further JSON entries, such as ``source``."""

    @property
    def name(self) -> str:
        """Name for messages: the image file, else the key."""
        return str(self.image) if isinstance(self.image, Path) else f"sample {self.key!r}"

    @property
    def labels(self) -> list[int]:
        """The class index or indices, as a list."""
        return [operator.index(label) for label in (self.label if isinstance(self.label, Sequence) else [self.label])]


def make_key(relative: str | PurePath) -> str:
    """A key without dots, slashes and control characters from a file's path inside its data set, without its extension."""
    return printable(PurePath(relative).with_suffix("").as_posix()).replace("/", "__").replace(".", "_")


def declared_problems(sample: Sample, rules: RecordRules) -> list[str]:
    """Problems of a sample that are found without opening its files."""
    problems = rules.label_problems(_plain_label(sample))
    if not sample.key or "." in sample.key or "/" in sample.key:
        problems.append(f"the key {sample.key!r} is empty or holds a dot or slash")
    if reserved := sorted(_RESERVED & sample.extra.keys()):
        problems.append(f"the extra entry {reserved[0]!r} is a name of the schema")
    for name in ANNOTATIONS:
        if (getattr(sample, name) is not None) != (name in rules.annotations):
            state = "lacks" if name in rules.annotations else "has undeclared"
            problems.append(f"it {state} {name}")
    return problems


def encode_sample(sample: Sample, rules: RecordRules, remarks: Counter[str] | None = None) -> dict[str, bytes]:
    """The members of a sample by their names in the tar, in a fixed order; its image upright, with its annotation.

    Args:
        sample: a listed sample.
        rules: of its split.
        remarks: counts what is worth telling of all samples, such as empty masks.

    Raises:
        FileNotFoundError: where a file of the sample is absent.
        ValueError: where a file is broken, sizes differ, or the record breaks a rule.
    """
    remarks = Counter() if remarks is None else remarks
    image = encode_image(_read(sample.image, sample.name), sample.name)
    remarks["images with several frames or pages, of which the first was taken"] += image.has_frames
    remarks["images turned upright by their EXIF orientation"] += bool(image.orientation)
    record = _record(sample, image, remarks)
    if problems := rules.problems(record):
        raise ValueError(f"{sample.name}: {problems[0]}.")
    members = {
        f"{sample.key}.{image.extension}": image.data,
        f"{sample.key}.json": json.dumps(record, sort_keys=True).encode(),
    }
    for kind, source, encode in (("mask", sample.mask, encode_mask), ("objects", sample.objects, encode_objects)):
        if source is not None:
            name = str(source) if isinstance(source, Path) else f"the {kind} of {sample.name}"
            placed = place_map(encode(_read(source, name), name), image, name)
            members[f"{sample.key}.{kind}.png"] = placed
            remarks.update(constant_remarks(placed) if kind == "mask" else ())
    if sample.counterfactuals is not None:
        name = f"a counterfactual of {sample.name}"
        sources = [_read(source, name) for source in sample.counterfactuals]
        members[f"{sample.key}.{COUNTERFACTUALS}"] = stacked_images(sources, image.size, name)
    return members


def upright_boxes(sample: Sample, picture: Image.Image) -> tuple[list[list[float]], Size]:
    """A sample's boxes on its upright image, and width and height of that, for those who read the image's file themselves.

    Args:
        sample: with boxes.
        picture: its image, opened and not yet read.

    Raises:
        ValueError: where the boxes were drawn on an image of another size.
    """
    stored, orientation = stored_size(picture), orientation_of(picture)
    size = orientation.turned_size(stored)
    turned = annotation_orientation(sample.annotated_size, EncodedImage(b"", "", *size, orientation), sample.name)
    return turned.boxes(sample.boxes or (), stored), size


def _plain_label(sample: Sample) -> int | list[int]:
    return sample.labels if isinstance(sample.label, Sequence) else sample.labels[0]


def _record(sample: Sample, image: EncodedImage, remarks: Counter[str]) -> dict[str, Any]:
    record = {**sample.extra, "label": _plain_label(sample), "width": image.width, "height": image.height}
    orientation = annotation_orientation(sample.annotated_size, image, sample.name)
    if sample.boxes is not None:
        boxes, num_clipped = clip_boxes(sample.boxes, orientation.turned_size(image.size), sample.name)
        record["boxes"] = orientation.boxes(boxes, image.source_size)
        remarks["boxes that ended at most a pixel outside of their image, clipped"] += num_clipped
    if sample.box_labels is not None:
        record["box_labels"] = [operator.index(label) for label in sample.box_labels]
    if sample.box_difficult is not None:
        record["box_difficult"] = [_plain_flag(flag) for flag in sample.box_difficult]
    if sample.parts is not None:
        record["parts"] = _parts(sample.parts, orientation, image.source_size)
    if sample.counterfactuals is not None:
        record["counterfactuals"] = len(sample.counterfactuals)
    return record


def _parts(parts: Sequence[Sequence[float]], orientation: Orientation, stored: Size) -> list[list[float]]:
    plain = [[*map(float, part[:2]), *map(_plain_flag, part[2:])] for part in parts]
    if not orientation:
        return plain
    return [
        [*orientation.points([(part[0], part[1])], stored)[0], *part[2:]] if len(part) == 3 else part for part in plain
    ]


def _plain_flag(flag: float) -> float:
    """0 and 1 as integers; other values unchanged, to be refused by the rules."""
    return int(flag) if flag in {0, 1} else float(flag)


def _read(source: Source, name: str) -> bytes:
    if isinstance(source, bytes):
        return source
    if callable(source):
        return source()
    try:
        if not stat.S_ISREG(source.stat().st_mode):  # reading a pipe would wait for ever
            raise ValueError(f"{name} is no regular file: replace it, or remove it from the set.")
        return source.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"{name} does not exist: restore the file, or remove it from the set.") from None
    except OSError as error:
        raise type(error)(f"{name} cannot be read ({error.strerror}): allow it, or remove it from the set.") from None
