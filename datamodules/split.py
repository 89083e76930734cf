"""One split of a sharded data set: its index, its undecoded samples, and masks that select some of them."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path

import numpy as np
import webdataset as wds
from numpy.typing import NDArray

from datamodules.samples import RawSample, Sample, SampleError, decode
from vitrine.data.shards.schema import ShardIndex, read_index

SampleMask = NDArray[np.bool_]
"""(samples,) true for the selected samples of a split."""


@dataclass(frozen=True)
class Split:
    """A split folder and its index. A sample's row is its place in the order of the shards and of the samples in each.

    Args:
        folder: with the shards.
        index: of the shards.
    """

    folder: Path
    index: ShardIndex

    @classmethod
    def read(cls, folder: Path) -> "Split":
        """Reads the index; its errors are those of `read_index`."""
        return cls(folder, read_index(folder))

    @cached_property
    def first_rows(self) -> list[int]:
        """The row of each shard's first sample."""
        return [0, *accumulate(shard.count for shard in self.index.shards)][:-1]

    def every_sample(self) -> SampleMask:
        """(samples,) true for every sample."""
        return np.ones(self.index.count, dtype=bool)

    def held_out(self, fraction: float) -> SampleMask:
        """(samples,) true for the samples held out for validation: that share of them, spread evenly."""
        mask: SampleMask = np.diff(np.floor(np.arange(self.index.count + 1) * fraction)) > 0
        return mask

    def raw_samples(self, shard: int) -> Iterator[RawSample]:
        """The undecoded samples of one shard, with their rows under ``row``.

        Raises:
            SampleError: where the tar file is broken, or holds other than what the index says.
        """
        entry, first_row, number = self.index.shards[shard], self.first_rows[shard], 0
        path = self.folder / entry.file
        samples = wds.DataPipeline(wds.SimpleShardList([str(path)]), wds.tarfile_to_samples())
        try:
            for number, sample in enumerate(samples, start=1):
                if number > entry.count:
                    break
                yield {**sample, "row": first_row + number - 1}
        except tarfile.TarError as error:
            raise SampleError(f"{path} is broken ({error.args[0]}); convert the set again.") from error
        if number != entry.count:
            verify = f"python -m vitrine.shards verify {self.folder}"
            raise SampleError(f"{path} does not hold the {entry.count} samples that its index lists; run {verify}.")

    def decode(self, raw: RawSample) -> Sample:
        """A decoded sample; see `datamodules.samples.decode`."""
        return decode(raw, self.index, self.folder)
