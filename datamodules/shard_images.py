"""Images of shards by row: a map-style data set, read in any order by any number of processes."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from torch.utils.data import Dataset
from typing_extensions import override

from datamodules.damaged import Damaged, empty_like, read_or_skip
from datamodules.options import OnError
from datamodules.samples import RawSample, Sample, SampleError, collate
from datamodules.split import Split
from vitrine.core.batch import Batch
from vitrine.data.preprocessing import Preprocessing


class ShardImages(Dataset[Sample]):
    """Prepared samples of one split by their rows.

    Args:
        split: what to read.
        preprocessing: makes images ready for the backbone.
        augment_seed: of random crops and flips, which depend on it and the row alone; none without it.
        on_error: whether a damaged sample within a batch raises, or comes as what is wrong with it.

    Raises:
        SampleError: while reading, for a damaged sample.
    """

    def __init__(
        self,
        split: Split,
        preprocessing: Preprocessing,
        augment_seed: int | None = None,
        on_error: OnError = "stop",
    ) -> None:
        self.split = split if split.mode == preprocessing.mode else replace(split, mode=preprocessing.mode)
        self.preprocessing = preprocessing
        self.augment_seed = augment_seed
        self.on_error = on_error

    def __len__(self) -> int:
        return self.split.index.count

    @override
    def __getitem__(self, row: int) -> Sample:
        return self.preprocessing.normalized(self._placed(row))

    def __getitems__(self, rows: Sequence[int]) -> list[Sample | Damaged]:
        """Samples in the order of the rows, or what is wrong with them where ``on_error`` is ``skip``.

        Their images are in 8 bits, a quarter of what would come from a worker process else: `finished` normalises a batch.
        """
        by_row = {row: self._sample(row) for row in sorted(rows)}  # in the order of the shards
        return [by_row[row] for row in rows]

    def _sample(self, row: int) -> Sample | Damaged:
        skip = self.on_error == "skip"
        return read_or_skip(lambda: self._placed(row), lambda: self.split.name_of(row), skip=skip)

    def _placed(self, row: int) -> Sample:
        return self._decoded(self.split.raw_sample(row, whole=self.on_error == "stop"))

    def prepared(self, raw: RawSample) -> Sample:
        """A decoded sample, ready for the backbone, with its row."""
        return self.preprocessing.normalized(self._decoded(raw))

    def _decoded(self, raw: RawSample) -> Sample:
        sample = self.split.decode(raw)
        if self.augment_seed is None:
            return {**self.preprocessing.placed(sample), "row": raw["row"]}
        with torch.random.fork_rng(devices=[]):  # one image's crop depends on nothing but epoch and row
            torch.default_generator.manual_seed(hash((self.augment_seed, raw["row"])) % 2**63)
            return {**self.preprocessing.placed_at_random(sample), "row": raw["row"]}

    def finished(self, batch: Batch) -> Batch:
        """A batch of what `__getitems__` gives, with its images normalised."""
        return cast("Batch", self.preprocessing.normalized(dict(batch)))

    def batch(self, rows: Sequence[int]) -> Batch:
        """A batch of the samples of these rows, read in this process.

        Raises:
            SampleError: for a damaged sample, whatever ``on_error`` says.
        """
        return self.finished(collate([self._placed(row) for row in rows]))

    def empty_batch(self) -> Batch:
        """A batch of no samples with the entries of all others.

        Raises:
            SampleError: where no sample of the split can be read.
        """
        for row in range(len(self)):
            sample = self._sample(row)
            if not isinstance(sample, Damaged):
                return empty_like(self.finished(collate([sample])))
        raise SampleError(f"No sample of {self.split.folder} can be read; convert the set again.")
