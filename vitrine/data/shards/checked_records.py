"""Checked records: whether what the samples of a split say agrees with its index, before a run reads them."""

import hashlib
import os
from array import array
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vitrine.core.file_stamps import read_stamps, write_stamps
from vitrine.core.progress import progress_bar
from vitrine.data.shards.reader import open_file
from vitrine.data.shards.rules import RecordRules
from vitrine.data.shards.schema import INDEX_FILE, ShardIndex
from vitrine.data.shards.stored_sample import parse_record
from vitrine.data.shards.tar_samples import ShardError, find_samples, read_member

_SHOWN_FROM = 100_000
"""Samples from which on the check takes so long that progress is to be shown."""


def check_records(folder: Path, index: ShardIndex, record: Path, *, shown: bool = False) -> None:
    """Checks the JSON records of all samples, once as long as the index and the tar files that it lists stay the same.

    Pictures are not read. That tar files are those of the index is for `check_sums`, which comes before.

    Args:
        folder: of the split.
        index: of the split.
        record: file that keeps which index was checked.
        shown: whether a progress bar is drawn where there is much to read.

    Raises:
        ValueError: where a record breaks a rule of the index, two samples have one key, or class_counts are wrong.
    """
    digest = hashlib.sha256(index.to_json().encode()).hexdigest()
    if digest in read_stamps(record):
        return
    counts: Counter[int] = Counter()
    hashes = array("q")
    shown = shown and index.count >= _SHOWN_FROM
    bar = progress_bar(f"Records of {folder}", index.count, shown=shown, unit="images", transient=True)
    with bar as advance:
        for _, key, entries in _records(folder, index):
            label = entries["label"]
            counts.update(label if isinstance(label, list) else [label])
            hashes.append(hash(key))
            advance(1)
    _check_totals(folder, index, counts, np.frombuffer(hashes, dtype=np.int64))
    write_stamps(record, {digest: (0, 0, 0)})


def _check_totals(folder: Path, index: ShardIndex, counts: Counter[int], hashes: Any) -> None:
    remedy = f"convert the split again, and see python -m vitrine.shards verify {folder}"
    for label, (name, listed) in enumerate(zip(index.classes, index.class_counts, strict=True)):
        if listed != counts[label]:
            raise ValueError(
                f"{folder / INDEX_FILE} has {listed} samples of the class {name} in class_counts, its shards {counts[label]};"
                f" {remedy}."
            )
    if len(np.unique(hashes)) < len(hashes):
        shards: dict[str, str] = {}
        for shard, key, _ in _records(folder, index):
            if key in shards:
                raise ValueError(f"{folder / shard} has a sample of the key {key!r}, as {shards[key]} has; {remedy}.")
            shards[key] = shard


def _records(folder: Path, index: ShardIndex) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The shard, the key and the sound record of each sample."""
    rules = RecordRules.of_index(index)
    for entry in index.shards:
        descriptor = open_file(folder / entry.file)
        try:
            found = find_samples(descriptor)
            if found.problem is not None or len(found) != entry.count:
                problem = found.problem or f"it holds {len(found)} samples, its index says {entry.count}"
                raise ValueError(f"{folder / entry.file} is broken ({problem}); convert the set again.")
            for start, end in zip(found.starts.tolist(), found.ends.tolist(), strict=True):
                key, data = read_member(descriptor, start, end, "json")
                yield entry.file, key, _sound(data, rules, f"{key} in {folder / entry.file}", folder)
        except ShardError as error:
            raise ValueError(f"{folder / entry.file} {error}; convert the set again.") from None
        finally:
            os.close(descriptor)


def _sound(data: bytes | None, rules: RecordRules, name: str, folder: Path) -> dict[str, Any]:
    try:
        record = parse_record(b"" if data is None else data)
        problem = next(iter(rules.problems(record)), None)
    except ValueError as error:
        record, problem = {}, "its json is missing" if data is None else str(error)
    if problem is not None:
        raise ValueError(f"{name}: {problem[:300]}; see python -m vitrine.shards verify {folder}, or convert it again.")
    return record
