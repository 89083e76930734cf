"""Streams shards: batches of prepared samples, shared out over ranks and workers."""

import math
import random
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
import webdataset as wds
from numpy.typing import NDArray
from torch.utils.data import IterableDataset, get_worker_info

from datamodules.split import RawSample, Split, collate
from vitrine.core.batch import Batch
from vitrine.data.preprocessing import Preprocessing


class ShardStream(IterableDataset[Batch]):
    """Batches of prepared samples of one split.

    Ranks and workers each take one run of consecutive samples, so that none is read twice and few shards by several.
    Without ``epoch_seed`` each wanted row comes exactly once over all of them, in shards' order. With it, shards and
    samples come shuffled, and each rank gets the same number of batches, ``batches``, in which no row comes twice.

    Args:
        split: what to read.
        preprocessing: makes images ready.
        batch_size: samples a batch.
        wanted: (rows,) whether to read each row.
        rank: of this process, taken in the main process, since spawned workers do not know it.
        world: number of processes.
        batches: how many batches each rank yields while shuffling; there must be samples enough.
        epoch_seed: seed of the epoch's order and augmentation; no shuffling without it.
        augment: whether to crop and flip at random.
        shuffle_buffer: undecoded samples among which one is drawn, in each worker.
        skip: batches of this epoch that were seen before a resume.
    """

    def __init__(
        self,
        split: Split,
        preprocessing: Preprocessing,
        batch_size: int,
        wanted: NDArray[np.bool_],
        rank: int = 0,
        world: int = 1,
        batches: int = 0,
        epoch_seed: int | None = None,
        augment: bool = False,
        shuffle_buffer: int = 1000,
        skip: int = 0,
    ) -> None:
        super().__init__()
        self.split = split
        self.preprocessing = preprocessing
        self.batch_size = batch_size
        self.wanted = wanted
        self.rank = rank
        self.world = world
        self.batches = batches
        self.epoch_seed = epoch_seed
        self.augment = augment
        self.shuffle_buffer = shuffle_buffer
        self.skip = skip

    def __iter__(self) -> Iterator[Batch]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        samples = self._in_order(worker, workers) if self.epoch_seed is None else self._shuffled(worker, workers)
        while raw := list(islice(samples, self.batch_size)):
            yield collate([self.prepared(sample) for sample in raw])

    def _in_order(self, worker: int, workers: int) -> Iterator[RawSample]:
        return self._run(range(len(self.split.index.shards)), *self._ends_in_order(worker, workers))

    def _ends_in_order(self, worker: int, workers: int) -> tuple[int, int]:
        """Numbers of the first of a worker's samples, and of the first that is not, among those wanted."""
        place, places, count = self.rank * workers + worker, self.world * workers, int(self.wanted.sum())
        return count * place // places, count * (place + 1) // places

    def batches_in_order(self, workers: int) -> int:
        """How many batches this rank yields in shards' order; each worker's last one may be smaller."""
        ends = [self._ends_in_order(worker, max(workers, 1)) for worker in range(max(workers, 1))]
        return sum(math.ceil((end - first) / self.batch_size) for first, end in ends)

    def _shuffled(self, worker: int, workers: int) -> Iterator[RawSample]:
        """This worker's samples in the epoch's order, without those of batches that were seen before a resume."""
        # Workers take turns, so after a resume the first of them goes on where the interrupted one stood.
        worker = (worker + self.skip) % workers
        mine, seen = len(range(worker, self.batches, workers)), len(range(worker, self.skip, workers))
        before = self.rank * self.batches + sum(len(range(other, self.batches, workers)) for other in range(worker))
        count, batches = int(self.wanted.sum()), self.world * self.batches
        order = random.Random(self.epoch_seed)  # noqa: S311 - nothing secret
        shards = list(range(len(self.split.index.shards)))
        order.shuffle(shards)
        start = order.randrange(count)  # else a lone shard's halves would never be mixed
        run = self._run(shards * 2, start + count * before // batches, start + count * (before + mine) // batches)
        samples = wds.shuffle(self.shuffle_buffer, initial=self.shuffle_buffer, rng=order)(run)
        return islice(samples, seen * self.batch_size, mine * self.batch_size)

    def _run(self, shards: Sequence[int], first: int, end: int) -> Iterator[RawSample]:
        """Wanted samples number ``first`` to ``end`` - 1 in the order of the shards, undecoded."""
        number = 0
        for shard in shards:
            row = self.split.first_rows[shard]
            count = int(self.wanted[row : row + self.split.index.shards[shard].count].sum())
            if number < end and first < number + count:
                wanted = (raw for raw in self.split.raw_samples(shard) if self.wanted[raw["row"]])
                # A shard that is wanted to its end is read to its end, where it is checked for missing samples.
                stop = end - number if end < number + count else None
                yield from islice(wanted, max(first - number, 0), stop)
            number += count

    def prepared(self, raw: RawSample) -> dict[str, Any]:
        """A decoded sample, ready for the backbone, with its row."""
        sample = self.split.decode(raw)
        if not self.augment:
            return {**self.preprocessing.sample(sample), "row": raw["row"]}
        with torch.random.fork_rng(devices=[]):  # one image's crop depends on nothing but epoch and row
            torch.default_generator.manual_seed(hash((self.epoch_seed, raw["row"])) % 2**63)
            return {**self.preprocessing.augmented(sample), "row": raw["row"]}


def batches_per_rank(samples: int, world: int, batch_size: int) -> tuple[int, int]:
    """How many batches of what size each rank gets: full ones alone, or a single smaller one where there are too few.

    Raises:
        ValueError: where there is less than one sample a rank.
    """
    if samples < world:
        raise ValueError(f"{samples} training samples are too few for {world} processes; use fewer devices.")
    full = samples // (world * batch_size)
    return (full, batch_size) if full else (1, math.floor(samples / world))
