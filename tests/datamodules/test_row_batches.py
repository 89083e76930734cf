"""Batches of given rows: the images that a stream gives of them, in their order, with any number of workers."""

import numpy as np
import pytest
import torch

from datamodules.options import LoadingOptions
from datamodules.row_batches import row_batches
from datamodules.split import Split
from datamodules.stream import ShardStream
from tests.helpers import shard_fakes as fakes


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_the_images_of_the_rows_in_their_order(split: Split, workers: int) -> None:
    rows = [np.arange(3, 7), np.arange(7, 8), np.arange(16, 20), np.arange(40, 43)]
    batches = list(row_batches(split, fakes.TINY, LoadingOptions(num_workers=workers), rows))
    assert [batch["row"].tolist() for batch in batches] == [part.tolist() for part in rows]
    (every,) = ShardStream(split, fakes.TINY, 43)
    for batch in batches:
        assert batch["key"] == [every["key"][row] for row in batch["row"]]
        assert torch.equal(batch["image"], every["image"][batch["row"]])


def test_no_rows(split: Split) -> None:
    assert list(row_batches(split, fakes.TINY, LoadingOptions(num_workers=2), [])) == []
