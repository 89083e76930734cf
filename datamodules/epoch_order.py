"""Order of samples: shuffled epochs that depend on seed, epoch and set alone, and the batches that each rank gets."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from datamodules.ranks import RankShare
from datamodules.split import Rows


@dataclass(frozen=True)
class EpochOrder:
    """Shuffled orders of the rows of a split, another one each epoch.

    A set that fits into the window is shuffled as a whole. Of a larger one the shards come in random order, and samples are
    shuffled within windows of consecutive shards, so that only a window's shards have to be at hand.

    Args:
        rows: (n,) rows to put into order, ascending.
        seed: of the orders.
        window: samples that are shuffled together.
        first_rows: the row of each shard's first sample, ascending.
    """

    rows: Rows
    seed: int = 0
    window: int = 100_000
    first_rows: Sequence[int] = (0,)

    def __len__(self) -> int:
        return len(self.rows)

    def of_epoch(self, epoch: int) -> Rows:
        """(n,) the rows in the order of an epoch."""
        generator = torch.Generator().manual_seed(hash((self.seed, epoch)) % 2**63)
        if len(self.rows) <= self.window:
            return self.rows[_permutation(len(self.rows), generator)]
        bounds = np.searchsorted(self.rows, np.asarray(self.first_rows[1:]))
        shards = np.split(self.rows, bounds)
        in_shards = np.concatenate([shards[number] for number in _permutation(len(shards), generator)])
        windows = np.split(in_shards, range(self.window, len(in_shards), self.window))
        return np.concatenate([window[_permutation(len(window), generator)] for window in windows])


def _permutation(count: int, generator: torch.Generator) -> Rows:
    permutation: Rows = torch.randperm(count, generator=generator).numpy()
    return permutation


@dataclass(frozen=True)
class TrainingBatches:
    """A rank's part of each global batch: global batch k is ``order[k * G : (k + 1) * G]``, G = batch size × ranks.

    The last global batch may be smaller: some ranks get a sample less in it than others, or none.

    Args:
        order: (n,) rows in the order in which they are trained on.
        batch_size: samples per batch and rank.
        share: the rank whose part is read.
    """

    order: Rows
    batch_size: int
    share: RankShare = RankShare()  # noqa: RUF009 - frozen

    def __len__(self) -> int:
        return self.share.training_batches(len(self.order), self.batch_size)

    def __iter__(self) -> Iterator[Rows]:
        size = self.share.global_batch(self.batch_size)
        for start in range(0, len(self.order), size):
            yield self.order[start : start + size][self.share.rank :: self.share.world_size]


@dataclass(frozen=True)
class EvaluationBatches:
    """Batches of rows in order, of which whole ones are dealt out: which samples share a batch does not depend on ranks.

    Args:
        rows: (n,) in the order in which they are read.
        batch_size: samples per batch.
        share: the rank whose batches are read.
    """

    rows: Rows
    batch_size: int
    share: RankShare = RankShare()  # noqa: RUF009 - frozen

    def __len__(self) -> int:
        """Number of this rank's batches."""
        return len(range(self.share.rank, math.ceil(len(self.rows) / self.batch_size), self.share.world_size))

    def __iter__(self) -> Iterator[Rows]:
        step = self.share.world_size * self.batch_size
        for start in range(self.share.rank * self.batch_size, len(self.rows), step):
            yield self.rows[start : start + self.batch_size]

    @property
    def most(self) -> int:
        """The largest number of batches that any rank has."""
        return self.share.most_batches(len(self.rows), self.batch_size)
