"""Shard sources: what the shards of a split were made from, so that another data set is not taken for it."""

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vitrine.core.atomic_io import atomic_file
from vitrine.data.shards.converter import SampleSet
from vitrine.data.shards.sample import Source
from vitrine.data.shards.schema import ShardIndex

DEPTH = 3
"""Down to which level below the root folders are looked at for a change: that of class folders in a split."""

READ_FILES, READ_BYTES = 64, 1 << 16
"""How many image files are compared by their content, and how much of each."""


@dataclass(frozen=True)
class ShardSource:
    """What a split's shards were made from.

    Args:
        root: folder of the raw data set.
        options: of the datamodule that choose among its samples.
        stamp: of the root's folders, which changes where files come or go.
        listing: digest of the listed samples.
    """

    root: str
    options: Mapping[str, str]
    stamp: str
    listing: str

    @classmethod
    def read(cls, record: Path) -> "ShardSource | None":
        """What a record says; None where there is none that can be read."""
        try:
            entries = json.loads(record.read_text(encoding="utf-8"))
            options = {str(name): str(value) for name, value in entries["options"].items()}
            return cls(str(entries["root"]), options, str(entries["stamp"]), str(entries["listing"]))
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def write(self, record: Path) -> None:
        """Records it; where that is not allowed, the samples are compared again the next time."""
        with suppress(OSError), atomic_file(record) as partial:
            partial.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    def is_unchanged(self, root: Path, options: Mapping[str, str]) -> bool:
        """Whether these shards are of this folder as it stands, by what can be seen without listing it."""
        return self.root == str(root.resolve()) and self.options == options and self.stamp == stamp_of(root)


def source_record(shards: Path, split: str) -> Path:
    """The file that says what a split was made from; beside its folder, which holds shards alone."""
    return shards / f".{split}.source.json"


def stamp_of(root: Path) -> str:
    """A digest of the names and times of change of the folders below a root."""
    stamps = sorted((str(path.relative_to(root)), path.stat().st_mtime_ns) for path in _folders(root, DEPTH))
    return hashlib.sha256(repr(stamps).encode()).hexdigest()


def _folders(folder: Path, depth: int) -> Iterator[Path]:
    yield folder
    if depth:
        with os.scandir(folder) as entries:
            below = [Path(entry.path) for entry in entries if entry.is_dir()]
        for path in below:
            yield from _folders(path, depth - 1)


def listing_digest(listed: SampleSet) -> str:
    """A digest of listed samples: keys, labels, annotations, sizes of images and how some begin, but not where they are."""
    digest = hashlib.sha256(repr((list(listed.classes), sorted(listed.annotations), listed.multi_label)).encode())
    every = math.ceil(len(listed.samples) / READ_FILES)
    for number, sample in enumerate(sorted(listed.samples, key=lambda sample: sample.key)):
        size = _size(sample.image)
        entries: tuple[Any, ...] = (sample.key, sample.labels, sample.boxes, sample.box_labels, sample.parts, size)
        digest.update(repr(entries).encode(errors="surrogateescape"))
        if number % every == 0:
            digest.update(_beginning(sample.image))
    return digest.hexdigest()


def _size(image: Source) -> int | None:
    """Of an image in a file or in bytes; None for one that is still to be made."""
    if isinstance(image, Path):
        return image.stat().st_size
    return len(image) if isinstance(image, bytes) else None


def _beginning(image: Source) -> bytes:
    if isinstance(image, Path):
        with image.open("rb") as file:
            return file.read(READ_BYTES)
    return image[:READ_BYTES] if isinstance(image, bytes) else b""


def difference(listed: SampleSet | None, index: ShardIndex) -> str | None:
    """How listed samples differ from those of shards, by what the index says; None where it is the same."""
    if listed is None:
        return "it has no such split"
    if list(listed.classes) != index.classes:
        changed = [*sorted(set(listed.classes) ^ set(index.classes)), *listed.classes]
        return f"its classes are others ({', '.join(changed[:3])})"
    if len(listed.samples) != index.count:
        return f"it has {len(listed.samples)} samples, and the shards have {index.count}"
    counts = [0] * len(index.classes)
    for sample in listed.samples:
        for label in sample.labels:
            counts[label] += 1
    if counts != index.class_counts:
        return "its classes have other numbers of samples"
    if sorted(listed.annotations) != sorted(index.annotations) or listed.multi_label != index.multi_label:
        return "it has other annotations"
    return None
