"""Checks a split folder from its checksums down to every pixel."""

import hashlib
import json
import os
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from vitrine.data.shards.images import decode, is_16_bit_png, is_binary
from vitrine.data.shards.pool import Advance, run_tasks
from vitrine.data.shards.rules import RecordRules
from vitrine.data.shards.schema import (
    ANNOTATIONS,
    BOX_ENTRIES,
    IMAGE_EXTENSIONS,
    INDEX_FILE,
    ShardEntry,
    ShardIndex,
    parse_index,
)

_MAP_EXTENSIONS = {"mask": "mask.png", "objects": "objects.png"}


@dataclass
class ShardReport:
    """What was found in one shard."""

    file: str
    problems: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    labels: Counter[int] = field(default_factory=Counter)
    box_entries: set[tuple[str, ...]] = field(default_factory=set)
    """What the records say of each box, each kind of record once."""


@dataclass(frozen=True)
class Verification:
    """The outcome for a split: its index, ``None`` where it cannot be read, and one sentence a problem."""

    index: ShardIndex | None
    problems: list[str]


@dataclass(frozen=True)
class _VerifyTask:
    path: Path
    entry: ShardEntry
    rules: RecordRules


def verify(folder: Path, *, workers: int | None = None) -> Verification:
    """Checks index, checksums, counts, keys, labels, annotations, and that every image decodes.

    Args:
        folder: The split's folder.
        workers: Processes; 0 and 1 work in this one, ``None`` takes as many as there are CPUs.

    Raises:
        FileNotFoundError: ``folder`` holds no ``index.json``.
    """
    folder = Path(folder)
    try:
        index = parse_index(folder)
    except ValueError as error:
        return Verification(None, [str(error)])
    present = [shard for shard in index.shards if (folder / shard.file).is_file()]
    rules = RecordRules(
        num_classes=len(index.classes),
        multi_label=index.multi_label,
        annotations=frozenset(index.annotations),
        num_parts=None if index.part_names is None else len(index.part_names),
    )
    reports = run_tasks(
        _verify_shard,
        [_VerifyTask(folder / shard.file, shard, rules) for shard in present],
        workers=(os.cpu_count() or 1) if workers is None else workers,
        total=index.count,
        title="verify",
    )
    found = [problem for report in reports for problem in report.problems]
    return Verification(index, [*_folder_problems(index, folder), *found, *_split_problems(index, reports)])


def _folder_problems(index: ShardIndex, folder: Path) -> Iterator[str]:
    listed = Counter(shard.file for shard in index.shards)
    yield from (f"{name}: listed {times} times in {INDEX_FILE}" for name, times in listed.items() if times > 1)
    yield from (f"{name}: listed in {INDEX_FILE} but absent" for name in listed if not (folder / name).is_file())
    strays = sorted(path.name for path in folder.glob("*.tar") if path.name not in listed)
    yield from (f"{name}: not listed in {INDEX_FILE}" for name in strays)


def _split_problems(index: ShardIndex, reports: list[ShardReport]) -> Iterator[str]:
    if index.annotations != sorted(set(index.annotations) & set(ANNOTATIONS)):
        yield f"{INDEX_FILE}: annotations {index.annotations} are no sorted subset of {list(ANNOTATIONS)}"
    if index.count != (total := sum(shard.count for shard in index.shards)):
        yield f"{INDEX_FILE}: count is {index.count}, its shards add up to {total}"
    labels = sum((report.labels for report in reports), Counter[int]())
    if index.class_counts != (counts := [labels[label] for label in range(len(index.classes))]):
        yield f"{INDEX_FILE}: class_counts are {_shorten(index.class_counts)}, the samples' {_shorten(counts)}"
    if len(set[tuple[str, ...]]().union(*(report.box_entries for report in reports))) > 1:
        yield f"{INDEX_FILE}: some samples have {' or '.join(BOX_ENTRIES)}, others have not"
    first: dict[str, str] = {}
    for report in reports:
        for key in report.keys:
            if key in first:
                yield f"{report.file}: key {key!r} stands in {first[key]} too"
            first.setdefault(key, report.file)


def _shorten(counts: list[int]) -> str:
    return str(counts) if len(counts) <= 20 else f"{str(counts[:20])[:-1]}, …]"


def _verify_shard(task: _VerifyTask, advance: Advance) -> ShardReport:
    report = ShardReport(task.entry.file)
    with task.path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != task.entry.sha256:
            report.problems.append(
                f"{task.entry.file}: its sha256 differs from {INDEX_FILE}'s, so its bytes have changed"
            )
    try:
        for key, members in _read_groups(task.path):
            _check_sample(key, members, task, report)
            advance()
    except (tarfile.TarError, EOFError) as error:
        report.problems.append(f"{task.entry.file}: cannot be read as a tar ({error})")
    if len(report.keys) != task.entry.count:
        report.problems.append(
            f"{task.entry.file}: holds {len(report.keys)} samples, {INDEX_FILE} says {task.entry.count}"
        )
    return report


def _read_groups(path: Path) -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """Gives each run of members with one key, as streaming readers group them: (extension, bytes) pairs."""
    with tarfile.open(path, encoding="utf-8") as tar:
        for key, members in groupby(_read_members(tar), key=lambda member: member[0]):
            yield key, [(extension, data) for _, extension, data in members]


def _read_members(tar: tarfile.TarFile) -> Iterator[tuple[str, str, bytes]]:
    for member in tar:
        key, _, extension = member.name.partition(".")
        file = tar.extractfile(member)
        yield key, extension, b"" if file is None else file.read()


def _check_sample(key: str, members: list[tuple[str, bytes]], task: _VerifyTask, report: ShardReport) -> None:
    report.keys.append(key)
    problems, record = _sample_problems(members, task.rules)
    report.problems += [f"{report.file}: sample {key!r}: {problem}" for problem in problems]
    if record:
        report.box_entries.add(tuple(name for name in BOX_ENTRIES if name in record))
    if not task.rules.label_problems(record.get("label")):
        label = record["label"]
        report.labels.update(label if isinstance(label, list) else [label])


def _sample_problems(members: list[tuple[str, bytes]], rules: RecordRules) -> tuple[list[str], dict[str, Any]]:
    """What is wrong with a sample, and its record (empty where there is none to read)."""
    files = dict(members)
    found = _member_problems([extension for extension, _ in members], rules)
    record: dict[str, Any] = {}
    if "json" in files:
        try:
            record = dict(json.loads(files["json"]))
        except (ValueError, TypeError):
            found.append("its json cannot be read")
        else:
            found += rules.problems(record)
    size = (record.get("width"), record.get("height"))
    for extension, data in files.items():
        if extension != "json":
            found += _picture_problems(extension, data, size)
    return found, record


def _member_problems(extensions: list[str], rules: RecordRules) -> list[str]:
    images = [extension for extension in extensions if extension in IMAGE_EXTENSIONS]
    found = [] if len(images) == 1 else [f"it has {len(images)} images ({', '.join(IMAGE_EXTENSIONS)}) in place of 1"]
    maps = [extension for kind, extension in _MAP_EXTENSIONS.items() if kind in rules.annotations]
    wanted = Counter(["json", *maps])
    others = Counter(extension for extension in extensions if extension not in IMAGE_EXTENSIONS)
    found += [f"its {extension} is missing" for extension in wanted - others]
    return found + [f"it has a superfluous member .{extension}" for extension in others - wanted]


def _picture_problems(extension: str, data: bytes, size: tuple[object, object]) -> list[str]:
    try:
        picture = decode(data, f"its {extension}")
    except ValueError as error:
        return [str(error).partition(":")[0]]
    found = []
    if size not in {(None, None), picture.size}:
        found.append(f"its {extension} is {picture.width} x {picture.height}, its json says {size[0]} x {size[1]}")
    if extension == _MAP_EXTENSIONS["mask"] and not (picture.mode == "L" and is_binary(picture)):
        found.append("its mask is no 8-bit grey PNG of 0 and 255 (or 0 and 1)")
    if extension == _MAP_EXTENSIONS["objects"] and not is_16_bit_png(picture):
        found.append("its object map is no 16-bit grey PNG")
    return found
