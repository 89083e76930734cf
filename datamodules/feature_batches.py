"""Batches of cached features, shuffled for training or in order."""

from collections.abc import Iterator

import torch
from torch import Tensor

from datamodules.class_samples import ClassSamples
from datamodules.ranks import RankShare
from vitrine.core.batch import Batch
from vitrine.data.feature_store import FeatureTable


class ShuffledFeatures:
    """Shuffled batches of cached features: each epoch another order, of which each rank takes its share.

    Args:
        table: the cached features of a split.
        rows: (n,) rows of the samples to train on.
        batch_size: samples per batch and rank.
        share: the rank whose share is read.
        seed: of the orders.
        class_samples: what each class is fitted on; batches then say so under ``sampled``.
    """

    def __init__(
        self,
        table: FeatureTable,
        rows: Tensor,
        batch_size: int,
        share: RankShare = RankShare(),  # noqa: B008 - frozen
        seed: int = 0,
        class_samples: ClassSamples | None = None,
    ) -> None:
        self.table = table
        self.rows = rows
        self.batch_size = batch_size
        self.share = share
        self.seed = seed
        self.class_samples = class_samples

    def __len__(self) -> int:
        return len(self._own_batches(self.rows))

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, without the first ``skip``."""
        generator = torch.Generator().manual_seed(hash((self.seed, epoch)) % 2**63)
        order = self.rows[torch.randperm(len(self.rows), generator=generator)]
        for rows in self._own_batches(order)[skip:]:
            batch = self.table.batch(rows)
            if self.class_samples is not None:
                batch["sampled"] = torch.from_numpy(self.class_samples.sampled(rows.numpy()))
            yield batch

    def _own_batches(self, order: Tensor) -> list[Tensor]:
        """This rank's rows of each global batch; a last smaller one loses what cannot be shared out evenly."""
        world_size = self.share.world_size
        even = order[: len(order) - len(order) % world_size]
        return [part[self.share.rank :: world_size] for part in torch.split(even, self.batch_size * world_size)]


class OrderedFeatures:
    """Batches of cached features in order, each sample once over all ranks.

    Args:
        table: the cached features of a split.
        rows: (n,) rows of the samples to read.
        batch_size: samples per batch and rank.
        share: the rank whose share is read.
    """

    def __init__(
        self,
        table: FeatureTable,
        rows: Tensor,
        batch_size: int,
        share: RankShare = RankShare(),  # noqa: B008 - frozen
    ) -> None:
        self.table = table
        self.own_batches = torch.split(rows[share.rank :: share.world_size], batch_size)

    def __len__(self) -> int:
        return len(self.own_batches)

    def __iter__(self) -> Iterator[Batch]:
        return (self.table.batch(rows) for rows in self.own_batches if len(rows))
