"""Damaged samples: left out where that is wanted, named in a warning, and counted by stage."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from datamodules.samples import Sample, SampleError, collate
from vitrine.core.batch import Batch

NAMED = 5
"""Damaged samples of a stage that warnings name one by one in each process."""


@dataclass(frozen=True)
class Damaged:
    """A sample that cannot be read.

    Args:
        name: of the sample, by its file or its place in a shard.
        reason: one sentence.
    """

    name: str
    reason: str


class LoadedBatch(NamedTuple):
    """What a worker process hands to the main process."""

    batch: Batch | None
    """None without a sample that can be read."""
    damaged: Sequence[Damaged]


def read_or_skip(read: Callable[[], Sample], name: Callable[[], str], *, skip: bool) -> Sample | Damaged:
    """A sample; where it is damaged and may be left out, its name and what is wrong with it."""
    try:
        return read()
    except SampleError as error:
        if not skip:
            raise
        return Damaged(name(), str(error))


def gather(samples: Sequence[Sample | Damaged]) -> LoadedBatch:
    """Puts those samples into a batch that could be read."""
    readable = [sample for sample in samples if not isinstance(sample, Damaged)]
    damaged = [sample for sample in samples if isinstance(sample, Damaged)]
    return LoadedBatch(collate(readable) if readable else None, damaged)


def empty_like(batch: Batch) -> Batch:
    """A batch of no samples, with the entries of this one."""
    empty: Batch = {name: values[:0] for name, values in batch.items()}  # type: ignore[assignment,index]
    return empty


class SkipCounter:
    """The damaged samples that this rank has left out in each stage since they were last asked for.

    Args:
        counted: whether any may be left out.
    """

    def __init__(self, counted: bool = True) -> None:
        self.counted = counted
        self._names: dict[str, dict[str, None]] = {}

    def add(self, stage: str, damaged: Sequence[Damaged]) -> None:
        """Counts samples, each once; the first few are named in warnings."""
        names = self._names.setdefault(stage, {})
        for sample in damaged:
            if sample.name not in names and len(names) < NAMED:
                warnings.warn(f"Left out ({stage}): {sample.reason}", stacklevel=2)
            names[sample.name] = None

    def take(self, stage: str) -> list[str]:
        """Names of the samples left out in a stage, which are then forgotten."""
        return list(self._names.pop(stage, {}))
