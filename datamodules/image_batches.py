"""Batches of images, read by worker processes in an order that is given."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from datamodules.damaged import Damaged, LoadedBatch, SkipCounter, gather
from datamodules.samples import Sample
from datamodules.split import Rows, Split
from vitrine.core.batch import Batch
from vitrine.core.worker_signals import leave_signals_to_parent


class BatchedImages(Protocol):
    """A map-style data set whose samples are finished in batches."""

    def __getitems__(self, rows: Sequence[int]) -> Sequence[Sample | Damaged]:
        """Samples in the order of the rows, or what is wrong with them."""

    def finished(self, batch: Batch) -> Batch:
        """A batch of these samples, ready for the backbone."""


@dataclass(frozen=True)
class ImageBatches:
    """The batches of some rows of a map-style data set.

    It is no DataLoader, whose samples a trainer would share out over the ranks once more.

    Args:
        images: gives samples by row, and finishes batches of them, in this process.
        rows: of each batch.
        num_workers: processes that read and decode.
        skipped: counts what is left out.
        stage: under which it is counted.
        empty_batch: gives what stands for a batch without samples; such batches are left out without it.
        split: whose shards are fetched ahead of the batches.
    """

    images: BatchedImages
    rows: Iterable[Rows]
    num_workers: int
    skipped: SkipCounter
    stage: str
    empty_batch: Callable[[], Batch] | None = None
    split: Split | None = None

    def __iter__(self) -> Iterator[Batch]:
        batches = list(self.rows)
        # A generator of its own: without it each pass would draw from the process's own random numbers.
        loader: DataLoader[LoadedBatch] = DataLoader(
            cast("Dataset[Any]", self.images),
            batch_sampler=_RowLists(batches),
            num_workers=self.num_workers,
            collate_fn=gather,
            generator=torch.Generator(),
            worker_init_fn=leave_signals_to_parent,
        )
        worked = iter(loader)  # processes are started before a thread is
        with nullcontext(lambda _: None) if self.split is None else self.split.prefetched(batches) as reach:
            for number, loaded in enumerate(worked):
                reach(number)
                self.skipped.add(self.stage, loaded.damaged)
                if loaded.batch is not None:
                    yield self.images.finished(loaded.batch)
                elif self.empty_batch is not None:
                    yield self.empty_batch()


class _RowLists(Sampler[list[int]]):
    """Batches of rows as lists, made when they are drawn."""

    def __init__(self, batches: Sequence[Rows]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        return (rows.tolist() for rows in self.batches)
