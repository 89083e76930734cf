"""Batches from shards: each rank and worker its own run of samples, shuffled or in order."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from datamodules.ranks import RankShare
from datamodules.split import Split
from datamodules.stream import ShardStream, ShuffledEpoch
from tests.helpers.shard_fakes import TINY


@pytest.fixture(scope="module")
def split(few: Path) -> Split:
    return Split.read(few / "train")


def rows(stream: ShardStream) -> list[int]:
    return [int(row) for batch in stream for row in batch["row"]]


@pytest.mark.parametrize(
    ("samples", "world", "batch_size", "expected"),
    [(43, 1, 4, (10, 4)), (43, 2, 4, (5, 4)), (8, 2, 4, (1, 4)), (7, 2, 4, (1, 3)), (2, 2, 64, (1, 1))],
)
def test_full_batches_alone_or_one_smaller_one(
    samples: int, world: int, batch_size: int, expected: tuple[int, int]
) -> None:
    assert RankShare(0, world).training_batches(samples, batch_size) == expected


def test_less_than_a_sample_a_rank_is_refused() -> None:
    with pytest.raises(ValueError, match="1 training samples are too few for 2 processes"):
        RankShare(0, 2).training_batches(1, 4)


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
