"""Schema of a split on disk: ``index.json`` beside tar shards, which hold a JSON record for each sample."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict, get_args

from vitrine.data.shards.documents import parse_json

SCHEMA_VERSION = 1
INDEX_FILE = "index.json"
Annotation = Literal["boxes", "counterfactuals", "mask", "objects", "parts"]
ANNOTATIONS = get_args(Annotation)
BOX_ENTRIES = ("box_labels", "box_difficult")
"""Optional entries of a record with one value for each box; all samples of a split have the same ones."""
IMAGE_EXTENSIONS = ("jpg", "jpeg", "png")
COUNTERFACTUALS = "counterfactuals.png"
"""Extension of the member that holds the counterfactual images of a sample."""

_FIELD_TYPES = {
    "dataset": str,
    "split": str,
    "classes": list[str],
    "multi_label": bool,
    "annotations": list[str],
    "count": int,
    "class_counts": list[int],
    "shards": list,
}
_OPTIONAL_LISTS = ("part_names", "object_names", "notes")


class SampleRecord(TypedDict):
    """Entries of ``{key}.json``; converters may add others."""

    label: int | list[int]
    """Class index, or the indices of all classes in the image (multi-label)."""
    width: int
    """Pixels of the stored image. Converters store it upright; in shards of earlier releases a rotation flag (EXIF) is not
    applied to width, height and annotation, and readers turn all of them."""
    height: int
    boxes: NotRequired[list[list[float]]]
    """x0, y0, x1, y1 in pixels of the stored image, half open: x0 ≤ x < x1."""
    box_labels: NotRequired[list[int]]
    """Class index of each box, in the order of ``boxes``; absent where all boxes are of the image's one class."""
    box_difficult: NotRequired[list[int]]
    """1 for each box whose object is difficult to recognise, else 0."""
    parts: NotRequired[list[list[float]]]
    """x, y, visible (0 or 1) of each part, in the order of ``part_names``."""
    counterfactuals: NotRequired[int]
    """Number of images in ``{key}.counterfactuals.png``, one below the other: image i shows the same without object i + 1."""


@dataclass(frozen=True)
class ShardEntry:
    """One tar file of a split."""

    file: str
    count: int
    sha256: str


@dataclass(frozen=True)
class ShardIndex:
    """Contents of ``index.json``: what a split holds and where."""

    dataset: str
    split: str
    classes: list[str]
    multi_label: bool
    annotations: list[str]
    """Annotations of every sample of the split: a sorted subset of ``ANNOTATIONS``."""
    count: int
    class_counts: list[int]
    """Number of samples of each class; a sample with several labels counts for each."""
    shards: list[ShardEntry]
    part_names: list[str] | None = None
    object_names: list[str] | None = None
    """Entry i is the name of object id i + 1, empty where the set has no name for it; ids may exceed the list."""
    notes: list[str] | None = None
    """What the converter told of the split, such as how many files were left out."""
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> str:
        """Text of ``index.json``."""
        entries = asdict(self)
        for name in _OPTIONAL_LISTS:
            if entries[name] is None:
                del entries[name]
        return json.dumps({"schema_version": entries.pop("schema_version"), **entries}, indent=1) + "\n"


def parse_index(folder: Path) -> ShardIndex:
    """Reads ``folder/index.json`` without checking the shards that it lists.

    Raises:
        FileNotFoundError: where the folder has no ``index.json``.
        ValueError: where the file is not JSON, or not an index of this schema version.
    """
    path = Path(folder) / INDEX_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: {folder} is no split folder, make one with vitrine.shards.")
    return parse_index_text(path.read_bytes(), path)


def parse_index_text(text: bytes, path: Path | str) -> ShardIndex:
    """Reads the contents of ``index.json``.

    Args:
        text: encoded as UTF-8.
        path: of the file, or its URL, for messages.

    Raises:
        ValueError: where it is not JSON, or not an index of this schema version.
    """
    try:
        entries = parse_json(text, str(path))
    except ValueError as error:
        raise ValueError(f"{error}: convert the split again.") from None
    _check_entries(entries, path)
    return ShardIndex(
        **{name: entries[name] for name in _FIELD_TYPES if name != "shards"},
        shards=[_parse_shard(entry, path) for entry in entries["shards"]],
        **{name: entries.get(name) for name in _OPTIONAL_LISTS},
    )


def index_problems(index: ShardIndex) -> Iterator[str]:
    """Phrases about entries of an index that contradict each other; none for a sound one."""
    if index.annotations != sorted(set(index.annotations) & set(ANNOTATIONS)):
        yield f"annotations {index.annotations} are no sorted subset of {list(ANNOTATIONS)}"
    if index.count != (total := sum(shard.count for shard in index.shards)):
        yield f"count is {index.count}, its shards add up to {total}"
    listed = Counter(shard.file for shard in index.shards)
    yield from (f"{name} is listed {times} times" for name, times in listed.items() if times > 1)
    named = Counter(index.classes)
    yield from (f"the class {name!r} is listed {times} times" for name, times in named.items() if times > 1)
    if len(index.class_counts) != len(index.classes):
        yield f"class_counts has {len(index.class_counts)} entries for {len(index.classes)} classes"


def check_index(index: ShardIndex, path: Path | str) -> ShardIndex:
    """The index, where its entries agree.

    Raises:
        ValueError: where they contradict each other.
    """
    problem = next(index_problems(index), None)
    if problem is None and not index.multi_label and sum(index.class_counts) != index.count:
        problem = f"class_counts add up to {sum(index.class_counts)}, count is {index.count}"
    if problem is not None:
        raise ValueError(f"{path}: {problem}: convert the split again.")
    return index


def read_index(folder: Path) -> ShardIndex:
    """Reads ``folder/index.json`` and checks that its entries agree and that every listed shard exists.

    Raises:
        FileNotFoundError: where the index or a listed shard is absent.
        ValueError: where the index is not JSON, not of this schema version, or its entries contradict each other.
    """
    index = check_index(parse_index(folder), Path(folder) / INDEX_FILE)
    for shard in index.shards:
        if not (Path(folder) / shard.file).is_file():
            raise FileNotFoundError(
                f"{Path(folder) / shard.file} does not exist, or is no file, though {INDEX_FILE} lists it: convert the"
                " split again."
            )
    return index


def _check_entries(entries: Any, path: Path | str) -> None:
    version = entries.get("schema_version") if isinstance(entries, dict) else None
    if version != SCHEMA_VERSION:
        raise ValueError(
            f"{path} has schema_version {version!r}, this release reads {SCHEMA_VERSION}: convert the split again."
        )
    types: dict[str, Any] = {name: list[str] for name in _OPTIONAL_LISTS if name in entries} | _FIELD_TYPES
    for name, kind in types.items():
        if not _is(entries.get(name), kind):
            text = kind.__name__ if isinstance(kind, type) and not hasattr(kind, "__args__") else str(kind)
            raise ValueError(f"{path} has no entry {name!r} of type {text}: convert the split again.")


def _is(value: Any, kind: Any) -> bool:
    """Whether a value is of a type; True is no int here, and an int not below 0."""
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if hasattr(kind, "__args__"):
        return isinstance(value, list) and all(_is(entry, kind.__args__[0]) for entry in value)
    return isinstance(value, kind)


def _parse_shard(entry: Any, path: Path | str) -> ShardEntry:
    types = {"file": str, "count": int, "sha256": str}
    if not isinstance(entry, dict) or not all(_is(entry.get(name), kind) for name, kind in types.items()):
        raise ValueError(f"{path} lists a shard without file, count and sha256 ({entry!r}): convert the split again.")
    shard = ShardEntry(entry["file"], entry["count"], entry["sha256"])
    if Path(shard.file).name != shard.file or "\0" in shard.file or shard.file == "..":
        raise ValueError(
            f"{path} lists the shard {shard.file!r}, which is no plain file name: convert the split again."
        )
    return shard
