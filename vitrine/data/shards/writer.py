"""Shard writer: writes samples as shuffled tar shards with an index, reproducibly and atomically."""

import hashlib
import io
import os
import random
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from vitrine.core.atomic_io import atomic_new_folder, check_vacant
from vitrine.core.locks import LockOwner, file_lock
from vitrine.core.options import Count, CountOrZero, checked
from vitrine.data.shards.pool import Advance, run_tasks
from vitrine.data.shards.rules import RecordRules
from vitrine.data.shards.sample import Sample, declared_problems, encode_sample, make_key
from vitrine.data.shards.schema import BOX_ENTRIES, INDEX_FILE, Annotation, ShardEntry, ShardIndex, read_index

__all__ = ["Sample", "make_key", "write_shards"]


@dataclass(frozen=True)
class _ShardTask:
    path: Path
    samples: Sequence[Sample]
    rules: RecordRules


@checked
def write_shards(
    samples: Sequence[Sample],
    out: Path,
    *,
    dataset: str,
    split: str,
    classes: Sequence[str],
    annotations: Sequence[Annotation],
    multi_label: bool = False,
    part_names: Sequence[str] | None = None,
    object_names: Sequence[str] | None = None,
    notes: Sequence[str] = (),
    shard_size: Count = 1000,
    workers: CountOrZero | None = None,
    seed: int = 0,
    reuse: bool = False,
) -> ShardIndex:
    """Writes samples as a split folder, which exists only once it is complete.

    Another process that writes the same folder, also on another machine of the file system, is waited for, and what it wrote
    is taken.

    Samples are sorted by key and shuffled with ``seed``, so that shards mix classes, and equal samples produce equal bytes in
    any order and with any number of workers.

    Args:
        samples: each with exactly the declared annotations.
        out: the split's folder; must not exist, or be empty.
        dataset: name of the data set.
        split: name of the split.
        classes: class names, in the order of the labels.
        annotations: subset of boxes, counterfactuals, mask, objects, parts.
        multi_label: whether labels are lists of class indices.
        part_names: names of the parts, in the order of ``Sample.parts``.
        object_names: names of the object ids 1, 2 and so on; empty for ids without a name.
        notes: sentences about the split, such as how many files were left out; kept in the index.
        shard_size: number of samples in a shard; the last one may have fewer.
        workers: number of processes; 0 and 1 work in this one, None uses one for each CPU.
        seed: seed of the shuffle.
        reuse: takes a split that is there already, in place of an error.

    Raises:
        FileExistsError: where ``out`` is not empty.
        FileNotFoundError: where a file of a sample is absent.
        OptionError: for a number out of range, or an unknown annotation.
        ValueError: where a sample is broken or breaks a rule of the schema, or two share a key.
    """
    out = Path(out)
    if not reuse:
        check_vacant(out)
    rules = _make_rules(samples, classes, annotations, part_names, object_names, multi_label=multi_label)
    if not samples:
        raise ValueError(f"There are no samples to write to {out}; give at least one.")
    _check_samples(samples, rules)
    with _alone(out) as waited, ExitStack() as stack:
        if (reuse or waited) and (out / INDEX_FILE).is_file():
            return read_index(out)
        partial = stack.enter_context(atomic_new_folder(out))
        tasks = _plan(samples, partial, rules, shard_size, seed)
        workers = (os.cpu_count() or 1) if workers is None else workers
        written = run_tasks(_write_shard, tasks, workers=workers, total=len(samples), title=f"{dataset} {split}")
        counts = Counter(label for sample in samples for label in sample.labels)
        index = ShardIndex(
            dataset=dataset,
            split=split,
            classes=list(classes),
            multi_label=multi_label,
            annotations=sorted(annotations),
            count=len(samples),
            class_counts=[counts[label] for label in range(len(classes))],
            shards=[entry for entry, _ in written],
            part_names=None if part_names is None else list(part_names),
            object_names=None if object_names is None else list(object_names),
            notes=list(notes) or None,
        )
        (partial / INDEX_FILE).write_text(index.to_json(), encoding="utf-8")
    for remark, count in sorted(sum((remarks for _, remarks in written), Counter()).items()):
        sys.stderr.write(f"{out}: {count} {remark}.\n")
    return index


@contextmanager
def _alone(out: Path) -> Iterator[bool]:
    """Holds the lock of a split that is being written; gives whether another process had it first."""
    waited: list[LockOwner | None] = []

    def wait(owner: LockOwner | None) -> None:
        waited.append(owner)
        sys.stderr.write(f"{out} is being written by {owner or 'another process'}: waits for it.\n")

    with file_lock(out.with_name(f".{out.name}.lock"), f"shards of {out}", wait=True, on_wait=wait):
        yield bool(waited)


def _make_rules(
    samples: Sequence[Sample],
    classes: Sequence[str],
    annotations: Sequence[str],
    part_names: Sequence[str] | None,
    object_names: Sequence[str] | None,
    *,
    multi_label: bool,
) -> RecordRules:
    parts = part_names or next((sample.parts for sample in samples if sample.parts is not None), None)
    num_parts = None if parts is None else len(parts)
    objects = object_names or next((sample.counterfactuals for sample in samples if sample.counterfactuals), None)
    num_objects = None if objects is None else len(objects)
    return RecordRules(len(classes), multi_label, frozenset(annotations), num_parts, num_objects)


def _check_samples(samples: Sequence[Sample], rules: RecordRules) -> None:
    by_key: dict[str, Sample] = {}
    for sample in samples:
        if problems := declared_problems(sample, rules):
            raise ValueError(f"{sample.name}: {problems[0]}.")
        if first := by_key.get(sample.key):
            raise ValueError(f"{first.name} and {sample.name} share the key {sample.key!r}: rename one of them.")
        for name in BOX_ENTRIES:
            if (getattr(sample, name) is None) != (getattr(samples[0], name) is None):
                raise ValueError(
                    f"{samples[0].name} and {sample.name} differ in having {name}: give them to all or none."
                )
        by_key[sample.key] = sample


def _plan(samples: Sequence[Sample], folder: Path, rules: RecordRules, shard_size: int, seed: int) -> list[_ShardTask]:
    ordered = sorted(samples, key=lambda sample: sample.key)
    random.Random(seed).shuffle(ordered)  # noqa: S311 - not for cryptography
    starts = range(0, len(ordered), shard_size)
    return [
        _ShardTask(folder / f"shard-{number:06d}.tar", ordered[start : start + shard_size], rules)
        for number, start in enumerate(starts)
    ]


def _write_shard(task: _ShardTask, advance: Advance) -> tuple[ShardEntry, Counter[str]]:
    remarks: Counter[str] = Counter()
    partial = task.path.with_name(f"{task.path.name}.partial")
    with tarfile.open(partial, "w", format=tarfile.GNU_FORMAT, encoding="utf-8") as tar:
        for sample in task.samples:
            for name, data in encode_sample(sample, task.rules, remarks).items():
                _add_member(tar, name, data)
            advance()
    with partial.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    partial.replace(task.path)
    return ShardEntry(task.path.name, len(task.samples), digest), remarks


def _add_member(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Adds a member without time and owner and with a fixed mode, so that the bytes do not depend on the machine."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
