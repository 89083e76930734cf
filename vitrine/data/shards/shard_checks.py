"""Verification of one shard: its checksum, its samples, their records and images."""

import hashlib
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vitrine.data.shards.images import decode
from vitrine.data.shards.pool import Advance
from vitrine.data.shards.reader import open_file
from vitrine.data.shards.rules import RecordRules
from vitrine.data.shards.schema import BOX_ENTRIES, INDEX_FILE, ShardEntry
from vitrine.data.shards.stored_sample import missing_members, parse_record, picture_problems, superfluous_members
from vitrine.data.shards.tar_samples import ShardError, find_samples, read_sample


@dataclass
class ShardReport:
    """Contents and problems of one shard."""

    file: str
    problems: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    labels: Counter[int] = field(default_factory=Counter)
    box_entries: set[tuple[str, ...]] = field(default_factory=set)
    """The distinct sets of box entries that records have."""


@dataclass(frozen=True)
class VerifyTask:
    """One shard to verify."""

    path: Path
    entry: ShardEntry
    rules: RecordRules


def verify_shard(task: VerifyTask, advance: Advance) -> ShardReport:
    """Checks the checksum, the number of samples, and every sample of a shard."""
    report = ShardReport(task.entry.file)
    try:
        with task.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != task.entry.sha256:
            report.problems.append(f"{report.file}: its sha256 differs from {INDEX_FILE}'s, so its bytes have changed")
        _check_samples(task, report, advance)
    except (ShardError, OSError) as error:
        report.problems.append(f"{report.file}: cannot be read ({error})")
    if len(report.keys) != task.entry.count:
        report.problems.append(f"{report.file}: holds {len(report.keys)} samples, {INDEX_FILE} says {task.entry.count}")
    return report


def _check_samples(task: VerifyTask, report: ShardReport, advance: Advance) -> None:
    """Checks the samples as they are read for training."""
    descriptor = open_file(task.path)
    try:
        found = find_samples(descriptor)
        for start, end in zip(found.starts.tolist(), found.ends.tolist(), strict=True):
            _check_sample(*read_sample(descriptor, start, end), task, report)
            advance()
        if found.problem is not None:
            report.problems.append(f"{report.file}: cannot be read as a tar of samples ({found.problem})")
    finally:
        os.close(descriptor)


def _check_sample(key: str, members: Mapping[str, bytes], task: VerifyTask, report: ShardReport) -> None:
    report.keys.append(key)
    problems, record = _sample_problems(members, task.rules)
    report.problems += [f"{report.file}: sample {key!r}: {problem}" for problem in problems]
    if record:
        report.box_entries.add(tuple(name for name in BOX_ENTRIES if name in record))
    if not task.rules.label_problems(record.get("label")):
        label = record["label"]
        report.labels.update(label if isinstance(label, list) else [label])


def _sample_problems(members: Mapping[str, bytes], rules: RecordRules) -> tuple[list[str], dict[str, Any]]:
    """Problems of a sample, and its record, which is empty where it cannot be read."""
    problems = missing_members(members, rules) + superfluous_members(members, rules)
    record: dict[str, Any] = {}
    if "json" in members:
        try:
            record = parse_record(members["json"])
        except ValueError as error:
            problems.append(str(error))
        else:
            problems += rules.problems(record)
    for extension, data in members.items():
        if extension != "json":
            problems += _picture_problems(extension, data, record)
    return problems, record


def _picture_problems(extension: str, data: bytes, record: Mapping[str, Any]) -> list[str]:
    try:
        picture = decode(data, f"its {extension}")
    except ValueError as error:
        return [str(error).partition(":")[0]]
    return picture_problems(extension, picture, record)
