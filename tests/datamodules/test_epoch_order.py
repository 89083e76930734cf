"""Orders of epochs: functions of seed, epoch and set alone, shared out over ranks without changing a global batch."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from benchmarks.stream_scale import shuffle_quality
from datamodules.epoch_order import EpochOrder, EvaluationBatches, TrainingBatches
from datamodules.ranks import RankShare

SIZES = st.integers(1, 60), st.integers(1, 5), st.integers(1, 9)


@given(st.integers(0, 3), st.integers(0, 3), st.integers(1, 40))
def test_a_set_within_the_window_is_one_permutation(seed: int, epoch: int, count: int) -> None:
    rows = np.arange(count) * 3
    generator = torch.Generator().manual_seed(hash((seed, epoch)) % 2**63)
    expected = torch.from_numpy(rows)[torch.randperm(count, generator=generator)]
    assert_array_equal(EpochOrder(rows, seed, 40, [0, 7, 19]).of_epoch(epoch), expected.numpy())


def test_a_larger_set_is_shuffled_within_windows_of_consecutive_shards() -> None:
    order = EpochOrder(np.arange(1000), 0, window=100, first_rows=range(0, 1000, 50))
    epochs = [order.of_epoch(epoch) for epoch in (0, 0, 1)]
    assert_array_equal(epochs[0], epochs[1])
    assert not np.array_equal(epochs[0], epochs[2])
    for drawn in epochs:
        assert_array_equal(np.sort(drawn), np.arange(1000))
        shards_of_windows = [set((window // 50).tolist()) for window in drawn.reshape(10, 100)]
        assert {len(shards) for shards in shards_of_windows} == {2}
        assert all((np.diff(window) != 1).any() for window in drawn.reshape(10, 100))


def test_some_rows_of_a_larger_set() -> None:
    rows = np.flatnonzero(np.arange(90) % 7)
    drawn = EpochOrder(rows, 0, window=10, first_rows=[0, 30, 60]).of_epoch(0)
    assert_array_equal(np.sort(drawn), rows)


def test_windows_are_worse_than_a_full_shuffle_by_a_known_measure() -> None:
    full = shuffle_quality(EpochOrder(np.arange(20_000), 0, 20_000).of_epoch(0), 100)
    shards = range(0, 20_000, 100)
    windows = shuffle_quality(EpochOrder(np.arange(20_000), 0, 2000, shards).of_epoch(0), 100)
    none = shuffle_quality(np.arange(20_000), 100)
    assert full.displacement == pytest.approx(1 / 3, abs=0.01)
    assert windows.displacement == pytest.approx(1 / 3, abs=0.05)
    assert none.displacement == 0
    assert full.same_shard == pytest.approx(1 / 200, abs=0.002)
    assert windows.same_shard == pytest.approx(1 / 20, abs=0.01)
    assert none.same_shard > 0.98


@given(*SIZES)
def test_global_batches_do_not_depend_on_how_they_are_shared_out(count: int, world: int, size: int) -> None:
    order = np.random.default_rng(0).permutation(count)
    ranks = [list(TrainingBatches(order, size, RankShare(rank, world))) for rank in range(world)]
    assert {len(batches) for batches in ranks} == {len(TrainingBatches(order, size, RankShare(0, world)))}
    for start, parts in zip(range(0, count, size * world), zip(*ranks, strict=True), strict=True):
        assert_array_equal(np.sort(np.concatenate(parts)), np.sort(order[start : start + size * world]))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(*SIZES)
def test_whole_batches_are_dealt_out_for_evaluation(count: int, world: int, size: int) -> None:
    alone = [batch.tolist() for batch in EvaluationBatches(np.arange(count), size)]
    assert list(itertools.chain(*alone)) == list(range(count))
    ranks = [EvaluationBatches(np.arange(count), size, RankShare(rank, world)) for rank in range(world)]
    assert [[batch.tolist() for batch in rank] for rank in ranks] == [alone[rank::world] for rank in range(world)]
    assert [len(rank) for rank in ranks] == [len(alone[rank::world]) for rank in range(world)]
    assert {rank.most for rank in ranks} == {len(ranks[0])}
