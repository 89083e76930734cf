"""One split of a sharded data set: its index, its undecoded samples, and masks that select some of them."""

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodules.samples import RawSample, Sample, SampleError, checked_record, decode
from vitrine.data.colours import Mode
from vitrine.data.shards.checked_records import check_records
from vitrine.data.shards.checked_sums import check_sums
from vitrine.data.shards.reader import LocalFiles, ShardFiles, ShardReader
from vitrine.data.shards.rules import RecordRules
from vitrine.data.shards.schema import ShardIndex, read_index
from vitrine.data.shards.tar_samples import ShardError
from vitrine.data.streams.cached_files import CachedFiles, prefetched

Rows = NDArray[np.int64]
"""Rows of samples in a split."""
SampleMask = NDArray[np.bool_]
"""(samples,) true for the selected samples of a split."""


@dataclass(frozen=True)
class Split:
    """A split and its index. A sample's row is its place in the order of the shards and of the samples in each.

    Args:
        folder: with the shards, or the URL of one.
        index: of the shards.
        files: the shards; those in the folder without it.
        mode: colours of the decoded images.
    """

    folder: Path | str
    index: ShardIndex
    files: ShardFiles | None = None
    mode: Mode = "RGB"

    @classmethod
    def read(cls, folder: Path) -> "Split":
        """Reads the index; its errors are those of `read_index`."""
        return cls(folder, read_index(folder))

    @property
    def is_folder(self) -> bool:
        """Whether it is the shards of a local folder, all of them; others are checked when they are fetched or indexed."""
        return self.files is None

    @property
    def location(self) -> str:
        """The absolute path of a local folder, or the URL."""
        return str(self.folder.resolve() if isinstance(self.folder, Path) else self.folder)

    @cached_property
    def first_rows(self) -> list[int]:
        """The row of each shard's first sample."""
        return [0, *accumulate(shard.count for shard in self.index.shards)][:-1]

    @cached_property
    def reader(self) -> ShardReader:
        """Reads the samples of the shards."""
        entries = self.index.shards
        files = self.files or LocalFiles([Path(self.folder) / entry.file for entry in entries])
        return ShardReader(files, [entry.count for entry in entries], f"python -m vitrine.shards verify {self.folder}")

    def prefetched(self, batches: Sequence[Rows]) -> AbstractContextManager[Callable[[int], object]]:
        """Has the shards of batches fetched in the background where they are not local, in the order of the batches.

        Yields:
            To be called with the number of each batch that is read.
        """
        if not isinstance(self.files, CachedFiles):
            return nullcontext(lambda _: None)
        starts = np.asarray(self.first_rows)
        needed = [np.unique(np.searchsorted(starts, rows, side="right") - 1).tolist() for rows in batches]
        return prefetched(self.files.fetch, needed)

    def check_sums(self, records: Path) -> None:
        """Checks the tar files that have changed since they were last checked, or never were: checksums, then records.

        Checksums of downloads and of tar files without an index are checked when they are fetched or indexed.

        Args:
            records: folder that keeps what was checked, and when.

        Raises:
            FileNotFoundError: where a tar file is absent.
            ValueError: where one is another than the index says, or its samples are.
        """
        if self.is_folder:
            folder, name = Path(self.location), hashlib.sha256(self.location.encode()).hexdigest()[:16]
            check_sums(folder, self.index.shards, records / f"{name}.json", shown=True)
            check_records(folder, self.index, records / f"{name}-records.json", shown=True)

    def every_sample(self) -> SampleMask:
        """(samples,) true for every sample."""
        return np.ones(self.index.count, dtype=bool)

    def held_out(self, fraction: float) -> SampleMask:
        """(samples,) true for the samples held out for validation: that share of them, spread evenly."""
        mask: SampleMask = np.diff(np.floor(np.arange(self.index.count + 1) * fraction)) > 0
        return mask

    def fold(self, folds: int, number: int) -> SampleMask:
        """(samples,) true for the samples of one of several folds, each of which is spread evenly."""
        mask: SampleMask = np.arange(self.index.count) % folds == number
        return mask

    def place(self, row: int) -> tuple[int, int]:
        """The shard of a sample, and its number in the shard."""
        shard = bisect_right(self.first_rows, row) - 1
        return shard, row - self.first_rows[shard]

    def raw_sample(self, row: int, *, whole: bool = True) -> RawSample:
        """The undecoded sample of a row, with the row under ``row``.

        Args:
            row: of the sample.
            whole: whether a shard is refused that is damaged anywhere, or at this sample alone.

        Raises:
            SampleError: where the tar file is broken, or holds other than what the index says.
        """
        shard, number = self.place(row)
        try:
            key, members = self.reader.read(shard, number, whole=whole)
        except ShardError as error:
            raise SampleError(str(error)) from error
        return {**members, "__key__": key, "__url__": self.reader.files.name(shard), "row": row}

    def raw_samples(self, shard: int) -> Iterator[RawSample]:
        """The undecoded samples of one shard; errors are those of `raw_sample`."""
        first_row = self.first_rows[shard]
        return (self.raw_sample(row) for row in range(first_row, first_row + self.index.shards[shard].count))

    def name_of(self, row: int) -> str:
        """What a message calls a sample that cannot be read."""
        shard, number = self.place(row)
        return f"sample {number} of {self.reader.files.name(shard)}"

    def decode(self, raw: RawSample) -> Sample:
        """A decoded sample; see `datamodules.samples.decode`."""
        return decode(raw, self.index, self.folder, self.mode, self._rules)

    def record(self, raw: RawSample) -> dict[str, Any]:
        """The record of a sample; see `datamodules.samples.checked_record`."""
        return checked_record(raw, self._rules, self.folder)

    @cached_property
    def _rules(self) -> RecordRules:
        return RecordRules.of_index(self.index)
