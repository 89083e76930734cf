"""Indexing: the index of tar files that have none, or of some of those that an index lists."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vitrine.core.atomic_io import atomic_file
from vitrine.core.locks import file_lock
from vitrine.data.shards.reader import open_file
from vitrine.data.shards.schema import INDEX_FILE, ShardEntry, ShardIndex, parse_index
from vitrine.data.shards.stored_sample import MAP_EXTENSIONS, parse_record
from vitrine.data.shards.tar_samples import ShardError, find_samples, read_sample

_REMEDY = "make shards with python -m vitrine.shards"
_MAX_CLASSES = 1_000_000


def index_tars(paths: Sequence[Path], names: Sequence[str], split: str, whole: ShardIndex | None) -> ShardIndex:
    """The index of tar files, from the JSON records of their samples.

    Args:
        paths: of the files.
        names: of the files, under which the index lists them.
        split: name of the split.
        whole: index that lists these files among others, from which the classes' names come; classes are named by their
            numbers without it.

    Raises:
        ShardError: for a broken file, a sample without a record, and bytes that are not those that ``whole`` lists.
    """
    contents = [_contents(path, name) for path, name in zip(paths, names, strict=True)]
    listed = {} if whole is None else {entry.file: entry for entry in whole.shards}
    for content in contents:
        entry = listed.get(content.entry.file)
        if entry is not None and entry.sha256 != content.entry.sha256:
            raise ShardError(f"{content.entry.file} has not the sha256 that {INDEX_FILE} lists; convert the set again.")
    labels = sum((content.labels for content in contents), Counter[int]())
    of_samples = [content.annotations for content in contents if content.annotations is not None]
    classes = [str(number) for number in range(max(labels, default=-1) + 1)] if whole is None else whole.classes
    if max(labels, default=-1) >= len(classes):
        raise ShardError(f"{paths[0]} and so on have the label {max(labels)} of {len(classes)} classes; {_REMEDY}.")
    made = ShardIndex(
        dataset=paths[0].stem if whole is None else whole.dataset,
        split=split,
        classes=classes,
        multi_label=any(content.multi_label for content in contents) if whole is None else whole.multi_label,
        annotations=sorted(frozenset.intersection(*of_samples)) if of_samples else [],
        count=sum(content.entry.count for content in contents),
        class_counts=[labels[number] for number in range(len(classes))],
        shards=[content.entry for content in contents],
    )
    return made if whole is None else replace(made, part_names=whole.part_names, object_names=whole.object_names)


def index_once(
    paths: Sequence[Path], names: Sequence[str], split: str, whole: ShardIndex | None, folder: Path
) -> ShardIndex:
    """As `index_tars`; the index is kept in a folder below ``folder`` and made anew where a file has changed."""
    stamps = [(str(path.resolve()), (status := path.stat()).st_size, status.st_mtime_ns) for path in paths]
    described = json.dumps([stamps, list(names), split, None if whole is None else whole.to_json()])
    kept = folder / hashlib.sha256(described.encode()).hexdigest()[:20]
    with file_lock(kept.with_suffix(".lock"), f"index of {paths[0]}", wait=True):
        if not (kept / INDEX_FILE).is_file():
            made = index_tars(paths, names, split, whole)
            with atomic_file(kept / INDEX_FILE) as partial:
                partial.write_text(made.to_json(), encoding="utf-8")
    return parse_index(kept)


@dataclass(frozen=True)
class _Contents:
    """Of one tar file."""

    entry: ShardEntry
    labels: Counter[int]
    multi_label: bool
    annotations: frozenset[str] | None
    """That every sample has; None without a sample."""


def _contents(path: Path, name: str) -> _Contents:
    labels: Counter[int] = Counter()
    annotations: frozenset[str] | None = None
    multi_label, count = False, 0
    for key, record, of_sample in _records(path):
        multi_label |= isinstance(record.get("label"), list)
        labels.update(_labels_of(record, key, path))
        annotations = of_sample if annotations is None else annotations & of_sample
        count += 1
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return _Contents(ShardEntry(name, count, sha256), labels, multi_label, annotations)


def _labels_of(record: dict[str, Any], key: str, path: Path) -> list[int]:
    """The labels of a record; a number that is none, or beyond any set, would make a list of classes without end."""
    label = record.get("label")
    labels: list[Any] = label if isinstance(label, list) else [label]
    if not all(type(one) is int and 0 <= one < _MAX_CLASSES for one in labels):
        raise ShardError(f"{path} has no record {key}.json with a label, it is {label!r}; {_REMEDY}.")
    return labels


def _records(path: Path) -> Iterator[tuple[str, dict[str, Any], frozenset[str]]]:
    """The key and the record of each sample of a tar file, and the kinds of its annotation."""
    try:
        descriptor = open_file(path)
    except OSError as error:
        raise ShardError(f"{path} cannot be opened ({error.strerror}); check data.init_args.shards.") from error
    try:
        found = find_samples(descriptor)
        if found.problem is not None or found.repeated is not None:
            problem = found.problem or f"it holds the key {found.repeated!r} twice"
            raise ShardError(f"{path} is broken ({problem}); convert the set again.")
        for start, end in zip(found.starts.tolist(), found.ends.tolist(), strict=True):
            key, members = read_sample(descriptor, start, end)
            try:
                record = parse_record(members["json"])
            except (KeyError, ValueError) as error:
                raise ShardError(f"{path} has no record {key}.json with a label ({error}); {_REMEDY}.") from error
            maps = {kind for kind, extension in MAP_EXTENSIONS.items() if extension in members}
            yield key, record, frozenset(maps | {kind for kind in ("boxes", "parts") if kind in record})
    finally:
        os.close(descriptor)
