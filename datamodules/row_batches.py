"""Row batches: images of a split by their rows, in batches that are given."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from datamodules.options import LoadingOptions
from datamodules.samples import collate
from datamodules.split import Split
from datamodules.stream import ShardStream
from vitrine.core.batch import Batch
from vitrine.data.feature_store.store import Rows
from vitrine.data.preprocessing import Preprocessing


class RowBatches(IterableDataset[Batch]):
    """Batches of the given rows, in their order; workers take every so manieth.

    Args:
        split: what to read.
        preprocessing: makes images ready for the backbone.
        rows: of each batch, ascending from the first batch to the last.
    """

    def __init__(self, split: Split, preprocessing: Preprocessing, rows: Sequence[Rows]) -> None:
        super().__init__()
        self.split, self.preprocessing, self.rows = split, preprocessing, rows

    def __iter__(self) -> Iterator[Batch]:
        info = get_worker_info()
        own = self.rows[info.id :: info.num_workers] if info else self.rows
        if not own:
            return
        selected = np.zeros(self.split.index.count, dtype=bool)
        selected[np.concatenate(own)] = True
        stream = ShardStream(self.split, self.preprocessing, 1, selected)
        samples = map(stream.prepared, stream._run(range(len(self.split.index.shards)), 0, int(selected.sum())))  # noqa: SLF001
        for rows in own:
            if part := list(islice(samples, len(rows))):
                yield collate(part)


def row_batches(
    split: Split, preprocessing: Preprocessing, loading: LoadingOptions, rows: Sequence[Rows]
) -> Iterable[Batch]:
    """Reads the batches of the given rows in as many worker processes as the options say."""
    dataset = RowBatches(split, preprocessing, rows)
    # A generator of its own: without it each pass would draw from the process's own random numbers.
    workers = min(loading.num_workers, len(rows))
    return DataLoader(dataset, batch_size=None, num_workers=workers, generator=torch.Generator())
