"""Verification of one shard: its checksum, its samples, their records and images."""

import hashlib
import json
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from vitrine.data.shards.images import decode, is_16_bit_png, is_binary
from vitrine.data.shards.pool import Advance
from vitrine.data.shards.rules import RecordRules
from vitrine.data.shards.schema import BOX_ENTRIES, IMAGE_EXTENSIONS, INDEX_FILE, ShardEntry

_MAP_EXTENSIONS = {"mask": "mask.png", "objects": "objects.png"}


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
    """Key and (extension, bytes) pairs of each run of members with one key, as streaming readers group them."""
    with tarfile.open(path, encoding="utf-8") as tar:
        for key, members in groupby(_read_members(tar), key=lambda member: member[0]):
            yield key, [(extension, data) for _, extension, data in members]


def _read_members(tar: tarfile.TarFile) -> Iterator[tuple[str, str, bytes]]:
    for member in tar:
        key, _, extension = member.name.partition(".")
        file = tar.extractfile(member)
        yield key, extension, b"" if file is None else file.read()


def _check_sample(key: str, members: list[tuple[str, bytes]], task: VerifyTask, report: ShardReport) -> None:
    report.keys.append(key)
    problems, record = _sample_problems(members, task.rules)
    report.problems += [f"{report.file}: sample {key!r}: {problem}" for problem in problems]
    if record:
        report.box_entries.add(tuple(name for name in BOX_ENTRIES if name in record))
    if not task.rules.label_problems(record.get("label")):
        label = record["label"]
        report.labels.update(label if isinstance(label, list) else [label])


def _sample_problems(members: list[tuple[str, bytes]], rules: RecordRules) -> tuple[list[str], dict[str, Any]]:
    """Problems of a sample, and its record, which is empty where it cannot be read."""
    files = dict(members)
    problems = _member_problems([extension for extension, _ in members], rules)
    record: dict[str, Any] = {}
    if "json" in files:
        try:
            record = dict(json.loads(files["json"]))
        except (ValueError, TypeError):
            problems.append("its json cannot be read")
        else:
            problems += rules.problems(record)
    size = (record.get("width"), record.get("height"))
    for extension, data in files.items():
        if extension != "json":
            problems += _picture_problems(extension, data, size)
    return problems, record


def _member_problems(extensions: list[str], rules: RecordRules) -> list[str]:
    images = [extension for extension in extensions if extension in IMAGE_EXTENSIONS]
    problems = (
        [] if len(images) == 1 else [f"it has {len(images)} images ({', '.join(IMAGE_EXTENSIONS)}) in place of 1"]
    )
    maps = [extension for kind, extension in _MAP_EXTENSIONS.items() if kind in rules.annotations]
    required = Counter(["json", *maps])
    others = Counter(extension for extension in extensions if extension not in IMAGE_EXTENSIONS)
    problems += [f"its {extension} is missing" for extension in required - others]
    return problems + [f"it has a superfluous member .{extension}" for extension in others - required]


def _picture_problems(extension: str, data: bytes, size: tuple[object, object]) -> list[str]:
    try:
        picture = decode(data, f"its {extension}")
    except ValueError as error:
        return [str(error).partition(":")[0]]
    problems = []
    if size not in {(None, None), picture.size}:
        problems.append(f"its {extension} is {picture.width} x {picture.height}, its json says {size[0]} x {size[1]}")
    if extension == _MAP_EXTENSIONS["mask"] and not (picture.mode == "L" and is_binary(picture)):
        problems.append("its mask is no 8-bit grey PNG of 0 and 255 (or 0 and 1)")
    if extension == _MAP_EXTENSIONS["objects"] and not is_16_bit_png(picture):
        problems.append("its object map is no 16-bit grey PNG")
    return problems
