"""Shard verifier: checks a split folder, from its index and checksums to every image."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vitrine.core.options import CountOrZero, checked
from vitrine.data.shards.pool import run_tasks
from vitrine.data.shards.rules import RecordRules
from vitrine.data.shards.schema import BOX_ENTRIES, INDEX_FILE, ShardIndex, index_problems, parse_index
from vitrine.data.shards.shard_checks import ShardReport, VerifyTask, verify_shard


@dataclass(frozen=True)
class Verification:
    """Result for a split: its index, or None where it cannot be read, and a sentence for each problem."""

    index: ShardIndex | None
    problems: list[str]


@checked
def verify(folder: Path, *, workers: CountOrZero | None = None) -> Verification:
    """Verifies a split folder: index, checksums, counts, keys, labels, annotations, and that every image decodes.

    Args:
        folder: the split folder.
        workers: number of processes; 0 and 1 work in this one, None uses one for each CPU.

    Raises:
        FileNotFoundError: where ``folder`` has no ``index.json``.
    """
    folder = Path(folder)
    try:
        index = parse_index(folder)
    except ValueError as error:
        return Verification(None, [str(error)])
    present = [shard for shard in index.shards if (folder / shard.file).is_file()]
    rules = RecordRules.of_index(index)
    reports = run_tasks(
        verify_shard,
        [VerifyTask(folder / shard.file, shard, rules) for shard in present],
        workers=(os.cpu_count() or 1) if workers is None else workers,
        total=index.count,
        title="verify",
    )
    of_shards = [problem for report in reports for problem in report.problems]
    return Verification(index, [*_folder_problems(index, folder), *of_shards, *_split_problems(index, reports)])


def _folder_problems(index: ShardIndex, folder: Path) -> Iterator[str]:
    listed = {shard.file for shard in index.shards}
    yield from (
        f"{name}: listed in {INDEX_FILE} but absent" for name in sorted(listed) if not (folder / name).is_file()
    )
    strays = sorted(path.name for path in folder.glob("*.tar") if path.name not in listed)
    yield from (f"{name}: not listed in {INDEX_FILE}" for name in strays)


def _split_problems(index: ShardIndex, reports: list[ShardReport]) -> Iterator[str]:
    yield from (f"{INDEX_FILE}: {problem}" for problem in index_problems(index))
    labels = sum((report.labels for report in reports), Counter[int]())
    if index.class_counts != (counts := [labels[label] for label in range(len(index.classes))]):
        yield f"{INDEX_FILE}: class_counts are {_shorten(index.class_counts)}, the samples' {_shorten(counts)}"
    if len(set[tuple[str, ...]]().union(*(report.box_entries for report in reports))) > 1:
        yield f"{INDEX_FILE}: some samples have {' or '.join(BOX_ENTRIES)}, others have not"
    file_of_key: dict[str, str] = {}
    for report in reports:
        for key in report.keys:
            if key in file_of_key:
                yield f"{report.file}: key {key!r} is in {file_of_key[key]} too"
            file_of_key.setdefault(key, report.file)


def _shorten(counts: list[int]) -> str:
    return str(counts) if len(counts) <= 20 else f"{str(counts[:20])[:-1]}, …]"
