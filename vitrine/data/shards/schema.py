"""Schema of a split on disk: ``index.json`` beside tar shards, which hold a JSON record for each sample."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict, get_args

SCHEMA_VERSION = 1
INDEX_FILE = "index.json"
Annotation = Literal["boxes", "mask", "objects", "parts"]
ANNOTATIONS = get_args(Annotation)
BOX_ENTRIES = ("box_labels", "box_difficult")
"""Optional entries of a record with one value for each box; all samples of a split have the same ones."""
IMAGE_EXTENSIONS = ("jpg", "jpeg", "png")

_FIELD_TYPES = {
    "dataset": str,
    "split": str,
    "classes": list,
    "multi_label": bool,
    "annotations": list,
    "count": int,
    "class_counts": list,
    "shards": list,
}
_OPTIONAL_LISTS = ("part_names", "object_names")


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
        entries = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}): convert the split again.") from None
    _check_entries(entries, path)
    return ShardIndex(
        **{name: entries[name] for name in _FIELD_TYPES if name != "shards"},
        shards=[_parse_shard(entry, path) for entry in entries["shards"]],
        **{name: entries.get(name) for name in _OPTIONAL_LISTS},
    )


def read_index(folder: Path) -> ShardIndex:
    """Reads ``folder/index.json`` and checks that every listed shard exists.

    Raises:
        FileNotFoundError: where the index or a listed shard is absent.
        ValueError: where the index is not JSON, or not of this schema version.
    """
    index = parse_index(folder)
    for shard in index.shards:
        if not (Path(folder) / shard.file).is_file():
            raise FileNotFoundError(
                f"{Path(folder) / shard.file} does not exist though {INDEX_FILE} lists it: convert the split again."
            )
    return index


def _check_entries(entries: Any, path: Path | str) -> None:
    version = entries.get("schema_version") if isinstance(entries, dict) else None
    if version != SCHEMA_VERSION:
        raise ValueError(
            f"{path} has schema_version {version!r}, this release reads {SCHEMA_VERSION}: convert the split again."
        )
    wrong = [f"{name!r} of type {kind.__name__}" for name, kind in _FIELD_TYPES.items() if not _is(entries, name, kind)]
    wrong += [f"{name!r} of type list" for name in _OPTIONAL_LISTS if name in entries and not _is(entries, name, list)]
    if wrong:
        raise ValueError(f"{path} has no entry {wrong[0]}: convert the split again.")


def _is(entries: dict[str, Any], name: str, kind: type) -> bool:
    return isinstance(entries.get(name), kind)


def _parse_shard(entry: Any, path: Path | str) -> ShardEntry:
    try:
        shard = ShardEntry(str(entry["file"]), int(entry["count"]), str(entry["sha256"]))
    except (KeyError, TypeError, ValueError):
        raise ValueError(
            f"{path} lists a shard without file, count and sha256 ({entry!r}): convert the split again."
        ) from None
    if Path(shard.file).name != shard.file:
        raise ValueError(
            f"{path} lists the shard {shard.file!r}, which is no plain file name: convert the split again."
        )
    return shard
