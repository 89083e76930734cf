"""Batches of images, read by worker processes in an order that is given."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from datamodules.damaged import LoadedBatch, SkippedSamples, gather
from datamodules.epoch_order import Rows
from vitrine.core.batch import Batch


@dataclass(frozen=True)
class ImageBatches:
    """The batches of some rows of a map-style data set.

    It is no DataLoader, whose samples a trainer would share out over the ranks once more.

    Args:
        images: gives samples by row.
        rows: of each batch.
        num_workers: processes that read and decode.
        skipped: counts what is left out.
        stage: under which it is counted.
        empty_batch: gives what stands for a batch without samples; such batches are left out without it.
    """

    images: Dataset[Any]
    rows: Iterable[Rows]
    num_workers: int
    skipped: SkippedSamples
    stage: str
    empty_batch: Callable[[], Batch] | None = None

    def __iter__(self) -> Iterator[Batch]:
        # A generator of its own: without it each pass would draw from the process's own random numbers.
        loader: DataLoader[LoadedBatch] = DataLoader(
            self.images,
            batch_sampler=[rows.tolist() for rows in self.rows],
            num_workers=self.num_workers,
            collate_fn=gather,
            generator=torch.Generator(),
        )
        for loaded in loader:
            self.skipped.add(self.stage, loaded.damaged)
            if loaded.batch is not None:
                yield loaded.batch
            elif self.empty_batch is not None:
                yield self.empty_batch()
