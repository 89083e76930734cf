"""Loaders that start anew each epoch, and go on within one after a resume."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from datamodules.class_samples import ClassSamples
from vitrine.core.batch import Batch
from vitrine.data.feature_store import FeatureTable

Progress = Callable[[], tuple[int, bool]]
"""The trainer's epoch, and whether the batch in hand is its last."""


class EpochLoader:
    """Asks for an epoch's batches when the first of them is drawn; a trainer's checkpoint keeps its place.

    It counts for itself: between a checkpoint and what follows it the trainer's own counters stand now here, now there.

    Args:
        make: gives the batches of (epoch, batches to skip).
        progress: says where the trainer stands.
        length: batches an epoch.
    """

    def __init__(self, make: Callable[[int, int], Iterable[Batch]], progress: Progress, length: int) -> None:
        self.make = make
        self.progress = progress
        self.length = length
        self._place: tuple[int, int] | None = None  # the epoch in hand and how many of its batches were seen
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
            yield _none_of(last)


def _none_of(batch: Any) -> Batch:
    """A batch of no samples, with what this one has."""
    nothing: Any = {name: values[:0] for name, values in batch.items()}
    return nothing  # type: ignore[no-any-return]


class FeatureBatches:
    """Shuffled batches of kept features: each epoch another order, of which each rank takes its share.

    Args:
        table: the kept features.
        rows: those to train on.
        batch_size: samples a batch and rank.
        rank: of this process.
        world: number of processes.
        seed: of the orders.
        samples: what each class is fitted on; batches then say so under ``sampled``.
    """

    def __init__(
        self,
        table: FeatureTable,
        rows: Tensor,
        batch_size: int,
        rank: int = 0,
        world: int = 1,
        seed: int = 0,
        samples: ClassSamples | None = None,
    ) -> None:
        self.table = table
        self.rows = rows
        self.batch_size = batch_size
        self.rank = rank
        self.world = world
        self.seed = seed
        self.samples = samples

    def __len__(self) -> int:
        return len(self._shares(self.rows))

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, without the first ``skip``."""
        generator = torch.Generator().manual_seed(hash((self.seed, epoch)) % 2**63)
        order = self.rows[torch.randperm(len(self.rows), generator=generator)]
        for share in self._shares(order)[skip:]:
            batch = self.table.batch(share)
            if self.samples is not None:
                batch["sampled"] = torch.from_numpy(self.samples.sampled(share.numpy()))
            yield batch

    def _shares(self, order: Tensor) -> list[Tensor]:
        """This rank's rows of each global batch; a last smaller one loses what cannot be shared out evenly."""
        even = order[: len(order) - len(order) % self.world]
        return [part[self.rank :: self.world] for part in torch.split(even, self.batch_size * self.world)]


class FeatureRows:
    """Kept features in order, each row once over all ranks.

    Args:
        table: the kept features.
        rows: those to read.
        batch_size: samples a batch and rank.
        rank: of this process.
        world: number of processes.
    """

    def __init__(self, table: FeatureTable, rows: Tensor, batch_size: int, rank: int = 0, world: int = 1) -> None:
        self.table = table
        self.shares = torch.split(rows[rank::world], batch_size)

    def __len__(self) -> int:
        return len(self.shares)

    def __iter__(self) -> Iterator[Batch]:
        return (self.table.batch(share) for share in self.shares if len(share))
