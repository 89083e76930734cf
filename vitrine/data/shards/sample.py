"""One sample on its way into a shard."""

import json
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from vitrine.data.shards.images import EncodedImage, encode_image, encode_mask, encode_objects
from vitrine.data.shards.rules import RecordRules
from vitrine.data.shards.schema import SampleRecord

Source = Path | bytes | Callable[[], bytes]
"""Where the bytes of an image come from: a file, memory, or (generated sets) an importable callable."""

_RESERVED = frozenset(SampleRecord.__annotations__)


@dataclass(frozen=True)
class Sample:
    """What a converter says about one sample; ``None`` is "the set has no such annotation"."""

    key: str
    """Unique in the split, without dots and slashes; see ``make_key``."""
    image: Source
    label: int | Sequence[int]
    boxes: Sequence[Sequence[float]] | None = None
    """x0, y0, x1, y1 in pixels, half open; an empty sequence where an image of a set with boxes has none."""
    box_labels: Sequence[int] | None = None
    """Class index of each box; all samples of a split have these, or none."""
    box_difficult: Sequence[float] | None = None
    """0 or 1 for each box; all samples of a split have these, or none."""
    parts: Sequence[Sequence[float]] | None = None
    """x, y, visible in the split's order of parts."""
    mask: Source | None = None
    objects: Source | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further JSON entries, such as ``source``."""

    @property
    def name(self) -> str:
        """How messages call the sample: by its image file, else by its key."""
        return str(self.image) if isinstance(self.image, Path) else f"sample {self.key!r}"

    @property
    def labels(self) -> list[int]:
        """The class index or indices, as a list."""
        return [operator.index(label) for label in (self.label if isinstance(self.label, Sequence) else [self.label])]


def make_key(relative: str | PurePath) -> str:
    """Turns a file's path inside its data set, without its extension, into a key without dots and slashes."""
    return PurePath(relative).with_suffix("").as_posix().replace("/", "__").replace(".", "_")


def declared_problems(sample: Sample, rules: RecordRules) -> list[str]:
    """What can be seen to be wrong with a sample before any file is opened."""
    found = rules.label_problems(_plain_label(sample))
    if not sample.key or "." in sample.key or "/" in sample.key:
        found.append(f"the key {sample.key!r} is empty or holds a dot or slash")
    if reserved := sorted(_RESERVED & sample.extra.keys()):
        found.append(f"the extra entry {reserved[0]!r} is a name of the schema")
    for name in ("boxes", "mask", "objects", "parts"):
        if (getattr(sample, name) is not None) != (name in rules.annotations):
            state = "lacks" if name in rules.annotations else "has undeclared"
            found.append(f"it {state} {name}")
    return found


def encode_sample(sample: Sample, rules: RecordRules) -> dict[str, bytes]:
    """Gives the members of a sample, by their names in the tar, in a fixed order.

    Raises:
        FileNotFoundError: A file of the sample is absent.
        ValueError: A file is broken, sizes differ, or the record breaks a rule.
    """
    image = encode_image(_read(sample.image, sample.name), sample.name)
    record = _record(sample, image)
    if problems := rules.problems(record):
        raise ValueError(f"{sample.name}: {problems[0]}.")
    members = {
        f"{sample.key}.{image.extension}": image.data,
        f"{sample.key}.json": json.dumps(record, sort_keys=True).encode(),
    }
    for kind, source, encode in (("mask", sample.mask, encode_mask), ("objects", sample.objects, encode_objects)):
        if source is not None:
            name = str(source) if isinstance(source, Path) else f"the {kind} of {sample.name}"
            members[f"{sample.key}.{kind}.png"] = _same_size(encode(_read(source, name), name), image, name)
    return members


def _plain_label(sample: Sample) -> int | list[int]:
    return sample.labels if isinstance(sample.label, Sequence) else sample.labels[0]


def _record(sample: Sample, image: EncodedImage) -> dict[str, Any]:
    record = {**sample.extra, "label": _plain_label(sample), "width": image.width, "height": image.height}
    if sample.boxes is not None:
        record["boxes"] = [[float(value) for value in box] for box in sample.boxes]
    if sample.box_labels is not None:
        record["box_labels"] = [operator.index(label) for label in sample.box_labels]
    if sample.box_difficult is not None:
        record["box_difficult"] = [_plain_flag(flag) for flag in sample.box_difficult]
    if sample.parts is not None:
        record["parts"] = [[*map(float, part[:2]), *map(_plain_flag, part[2:])] for part in sample.parts]
    return record


def _plain_flag(flag: float) -> float:
    """0 and 1 as whole numbers; anything else stays as it is, for the rules to refuse."""
    return int(flag) if flag in {0, 1} else float(flag)


def _read(source: Source, name: str) -> bytes:
    if isinstance(source, bytes):
        return source
    if callable(source):
        return source()
    try:
        return source.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"{name} does not exist: restore the file, or remove its row from the set.") from None


def _same_size(encoded: EncodedImage, image: EncodedImage, name: str) -> bytes:
    if encoded.size != image.size:
        raise ValueError(f"{name} is {encoded.width} x {encoded.height}, its image {image.width} x {image.height}.")
    return encoded.data
