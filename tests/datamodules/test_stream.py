"""Batches from shards: each rank and worker its own run of samples, shuffled or in order."""

from dataclasses import replace

import numpy as np
import pytest

from datamodules.ranks import RankShare
from datamodules.split import Split
from datamodules.stream import ShardStream, ShuffledEpoch
from tests.helpers.shard_fakes import TINY


def rows(stream: ShardStream) -> list[int]:
    return [int(row) for batch in stream for row in batch["row"]]


@pytest.mark.parametrize("world", [1, 3])
def test_in_order_each_wanted_row_comes_once(split: Split, world: int) -> None:
    wanted = np.arange(43) % 3 != 1
    streams = [ShardStream(split, TINY, 4, wanted, RankShare(rank, world)) for rank in range(world)]
    assert [row for stream in streams for row in rows(stream)] == np.flatnonzero(wanted).tolist()
    for stream in streams:
        assert stream.batches_in_order(0) == len(list(stream))


@pytest.mark.parametrize("world", [1, 2])
def test_shuffled_no_row_comes_twice_and_ranks_have_the_same_number(split: Split, world: int) -> None:
    batches, size = RankShare(0, world).training_batches(43, 4)

    def drawn(rank: int, seed: int) -> list[int]:
        epoch = ShuffledEpoch(seed, batches, shuffle_buffer=7)
        return rows(ShardStream(split, TINY, size, share=RankShare(rank, world), epoch=epoch))

    epochs = [[drawn(rank, seed) for rank in range(world)] for seed in (1, 1, 2)]
    assert epochs[0] == epochs[1] != epochs[2]
    for ranks in epochs:
        together = [row for rank in ranks for row in rank]
        assert len(together) == len(set(together)) == world * batches * size
        assert {len(rank) for rank in ranks} == {batches * size}


def test_a_resumed_epoch_goes_on_after_the_batches_that_were_seen(split: Split) -> None:
    epoch = ShuffledEpoch(seed=3, batches=10, shuffle_buffer=7)
    whole = rows(ShardStream(split, TINY, 4, epoch=epoch))
    assert rows(ShardStream(split, TINY, 4, epoch=replace(epoch, skip=6))) == whole[24:]
