"""Batches of cached features, shuffled for training or in order."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from datamodules.class_samples import ClassSamples
from datamodules.epoch_order import EpochOrder, EvaluationBatches, TrainingBatches
from datamodules.ranks import RankShare
from datamodules.split import Rows
from vitrine.core.batch import Batch
from vitrine.data.feature_store import FeatureTable


class ShuffledFeatures:
    """Shuffled batches of cached features: each epoch another order, of which each rank takes its share.

    Args:
        table: the cached features of a split.
        order: orders of the samples to train on.
        batch_size: samples per batch and rank.
        share: the rank whose share is read.
        class_samples: what each class is fitted on; batches then say so under ``sampled``.
    """

    def __init__(
        self,
        table: FeatureTable,
        order: EpochOrder,
        batch_size: int,
        share: RankShare = RankShare(),  # noqa: B008 - frozen
        class_samples: ClassSamples | None = None,
    ) -> None:
        self.table = table
        self.order = order
        self.batch_size = batch_size
        self.share = share
        self.class_samples = class_samples

    def __len__(self) -> int:
        return self.share.training_batches(len(self.order), self.batch_size)

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, without those of its first ``skip`` samples over all ranks."""
        order = self.order.of_epoch(epoch)[skip:]
        batches = TrainingBatches(order, self.batch_size, self.share)
        return (_batch_of(self.table, rows, self.class_samples) for rows in batches)


class OrderedFeatures:
    """Batches of cached features in order, each sample once over all ranks.

    Args:
        table: the cached features of a split.
        rows: (n,) rows of the samples to read.
        batch_size: samples per batch.
        share: the rank whose batches are read.
        class_samples: what each class is fitted on; batches then say so under ``sampled``.
    """

    def __init__(
        self,
        table: FeatureTable,
        rows: Tensor,
        batch_size: int,
        share: RankShare = RankShare(),  # noqa: B008 - frozen
        class_samples: ClassSamples | None = None,
    ) -> None:
        self.table = table
        self.class_samples = class_samples
        self.own_batches = EvaluationBatches(rows.numpy(), batch_size, share)

    def __len__(self) -> int:
        """The largest number of batches that any rank has."""
        return self.own_batches.most

    def __iter__(self) -> Iterator[Batch]:
        return (_batch_of(self.table, rows, self.class_samples) for rows in self.own_batches)

    def empty_batch(self) -> Batch:
        """A batch of no samples."""
        return _batch_of(self.table, np.zeros(0, dtype=np.int64), self.class_samples)


def _batch_of(table: FeatureTable, rows: Rows, class_samples: ClassSamples | None) -> Batch:
    batch = table.batch(torch.from_numpy(rows))
    if class_samples is not None:
        batch["sampled"] = torch.from_numpy(class_samples.sampled(rows))
    return batch
