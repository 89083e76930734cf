"""Loaders for a trainer: epochs that can be resumed, and loaders whose batches are shared out over ranks already."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader

from datamodules.options import LoadingOptions
from datamodules.stream import ShardStream
from vitrine.core.batch import Batch
from vitrine.core.worker_signals import leave_signals_to_parent

Progress = Callable[[], tuple[int, bool]]
"""The trainer's epoch, and whether the current batch is its last."""


class EpochLoader:
    """Asks for an epoch's batches when the first of them is drawn; a trainer's checkpoint keeps its place.

    It counts for itself: the trainer's own counters change between a checkpoint and what follows it.

    Args:
        make: gives the batches of (epoch, batches to skip).
        progress: says where the trainer stands.
        length: batches per epoch.
    """

    def __init__(self, make: Callable[[int, int], Iterable[Batch]], progress: Progress, length: int) -> None:
        self.make = make
        self.progress = progress
        self.length = length
        self._place: tuple[int, int] | None = None  # the current epoch and how many of its batches were seen
        self._resumed: tuple[int, int] | None = None

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Batch]:
        epoch, seen = self._begin()
        self._resumed = None
        self._place = epoch, seen
        for number, batch in enumerate(self.make(epoch, seen), start=seen + 1):
            self._place = epoch, number
            yield batch

    def _begin(self) -> tuple[int, int]:
        if self._resumed is not None:
            return self._resumed
        return (self.progress()[0] if self._place is None else self._place[0] + 1), 0

    def state_dict(self) -> dict[str, int]:
        """The epoch to go on with, and how many of its batches were seen."""
        complete = self.progress()[1]
        if self._place is None or self._resumed is not None or complete:
            epoch, seen = self._begin()
        else:
            epoch, seen = self._place
        return {"epoch": epoch, "batches": seen}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """The next batch drawn is the one after those seen."""
        self._resumed = state_dict["epoch"], state_dict["batches"]


class WholeLoader:
    """A loader that the trainer takes as it is; a bare DataLoader's samples it would share out over the ranks once more.

    Args:
        batches: this rank's.
        length: the largest number of batches that any rank has.
    """

    def __init__(self, batches: Iterable[Batch], length: int) -> None:
        self.batches = batches
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)


class EvenLoader(WholeLoader):
    """A `WholeLoader` for training, in which all ranks draw the same number of batches; those without more draw empty ones.

    Each rank has to have a batch at all.
    """

    def __iter__(self) -> Iterator[Batch]:
        left, last = self.length, Batch()
        for last in self.batches:
            left -= 1
            yield last
        for _ in range(left):
            yield _empty_like(last)


def _empty_like(batch: Batch) -> Batch:
    """A batch of no samples, with the entries of this one."""
    entries: Any = batch.items()
    empty: Any = {name: values[:0] for name, values in entries}
    return empty  # type: ignore[no-any-return]


def image_loader(stream: ShardStream, loading: LoadingOptions) -> DataLoader[Batch]:
    """Reads a stream in as many worker processes as the options say."""
    # A generator of its own: without it each pass would draw from the process's own random numbers.
    options: dict[str, Any] = {"num_workers": loading.num_workers, "worker_init_fn": leave_signals_to_parent}
    return DataLoader(stream, batch_size=None, generator=torch.Generator(), **options)
