"""Streams of shards: batches of prepared images, shared out over ranks and workers."""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
import webdataset as wds
from torch.utils.data import IterableDataset, get_worker_info

from datamodules.ranks import RankShare
from datamodules.samples import RawSample, Sample, collate
from datamodules.split import SampleMask, Split
from vitrine.core.batch import Batch
from vitrine.data.preprocessing import Preprocessing


@dataclass(frozen=True)
class ShuffledEpoch:
    """One epoch of training: its order, its augmentation, and how much of it is read.

    Args:
        seed: of the order and the augmentation.
        batches: how many batches each rank yields; there must be samples enough.
        shuffle_buffer: undecoded samples among which the next one is drawn, in each worker.
        augment: whether images are cropped and flipped at random.
        skip: batches of this epoch that were seen before a resume.
    """

    seed: int
    batches: int
    shuffle_buffer: int = 1000
    augment: bool = False
    skip: int = 0


class ShardStream(IterableDataset[Batch]):
    """Batches of prepared samples of one split.

    Ranks and workers each take one run of consecutive samples, so that none is read twice and few shards by several.
    Without ``epoch`` each selected sample comes exactly once over all of them, in shards' order. With it, shards and
    samples come shuffled, and each rank gets the same number of batches, in which no sample comes twice.

    Args:
        split: what to read.
        preprocessing: makes images ready for the backbone.
        batch_size: samples per batch.
        selected: (samples,) whether to read each sample; all of them without it.
        share: the rank whose share is read.
        epoch: what is shuffled, and how; no shuffling and no augmentation without it.
    """

    def __init__(
        self,
        split: Split,
        preprocessing: Preprocessing,
        batch_size: int,
        selected: SampleMask | None = None,
        share: RankShare = RankShare(),  # noqa: B008 - frozen
        epoch: ShuffledEpoch | None = None,
    ) -> None:
        super().__init__()
        self.split = split
        self.preprocessing = preprocessing
        self.batch_size = batch_size
        self.selected = split.every_sample() if selected is None else selected
        self.share = share
        self.epoch = epoch

    def __iter__(self) -> Iterator[Batch]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        samples = self._in_order(worker, workers) if self.epoch is None else self._shuffled(self.epoch, worker, workers)
        while raw := list(islice(samples, self.batch_size)):
            yield collate([self.prepared(sample) for sample in raw])

    @property
    def num_selected(self) -> int:
        """Number of samples that all ranks read together."""
        return int(self.selected.sum())

    def _in_order(self, worker: int, workers: int) -> Iterator[RawSample]:
        return self._run(range(len(self.split.index.shards)), *self._ends_in_order(worker, workers))

    def _ends_in_order(self, worker: int, workers: int) -> tuple[int, int]:
        """Numbers of the first of a worker's samples, and of the first that is not, among those selected."""
        place, places = self.share.rank * workers + worker, self.share.world_size * workers
        return self.num_selected * place // places, self.num_selected * (place + 1) // places

    def batches_in_order(self, workers: int) -> int:
        """How many batches this rank yields in shards' order; each worker's last one may be smaller."""
        ends = [self._ends_in_order(worker, max(workers, 1)) for worker in range(max(workers, 1))]
        return sum(math.ceil((end - first) / self.batch_size) for first, end in ends)

    def _shuffled(self, epoch: ShuffledEpoch, worker: int, workers: int) -> Iterator[RawSample]:
        """This worker's samples in the epoch's order, without those of batches that were seen before a resume."""
        # Workers take turns, so after a resume the first of them goes on where the interrupted one stood.
        worker = (worker + epoch.skip) % workers
        batches, seen = len(range(worker, epoch.batches, workers)), len(range(worker, epoch.skip, workers))
        of_earlier_workers = sum(len(range(earlier, epoch.batches, workers)) for earlier in range(worker))
        before = self.share.rank * epoch.batches + of_earlier_workers
        count, all_batches = self.num_selected, self.share.world_size * epoch.batches
        order = random.Random(epoch.seed)  # noqa: S311 - nothing secret
        shards = list(range(len(self.split.index.shards)))
        order.shuffle(shards)
        start = order.randrange(count)  # else a lone shard's halves would never be mixed
        first, end = (start + count * number // all_batches for number in (before, before + batches))
        run = self._run(shards * 2, first, end)
        samples = wds.shuffle(epoch.shuffle_buffer, initial=epoch.shuffle_buffer, rng=order)(run)
        return islice(samples, seen * self.batch_size, batches * self.batch_size)

    def _run(self, shards: Sequence[int], first: int, end: int) -> Iterator[RawSample]:
        """Selected samples number ``first`` to ``end`` - 1 in the order of the shards, undecoded."""
        number = 0
        for shard in shards:
            first_row = self.split.first_rows[shard]
            count = int(self.selected[first_row : first_row + self.split.index.shards[shard].count].sum())
            if number < end and first < number + count:
                selected = (raw for raw in self.split.raw_samples(shard) if self.selected[raw["row"]])
                # A shard that is read to its last selected sample is read to its end, where missing samples are noticed.
                stop = end - number if end < number + count else None
                yield from islice(selected, max(first - number, 0), stop)
            number += count

    def prepared(self, raw: RawSample) -> Sample:
        """A decoded sample, ready for the backbone, with its row."""
        sample = self.split.decode(raw)
        if self.epoch is None or not self.epoch.augment:
            return {**self.preprocessing.sample(sample), "row": raw["row"]}
        with torch.random.fork_rng(devices=[]):  # one image's crop depends on nothing but epoch and row
            torch.default_generator.manual_seed(hash((self.epoch.seed, raw["row"])) % 2**63)
            return {**self.preprocessing.augmented(sample), "row": raw["row"]}
