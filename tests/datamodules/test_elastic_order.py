"""Elastic order: a run that goes on with other ranks, workers or batch sizes sees each sample once an epoch."""

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodules.class_samples import Indices
from datamodules.damaged import SkipCounter
from datamodules.feature_batches import ShuffledFeatures
from datamodules.loaders import EpochLoader
from datamodules.options import LoadingOptions
from datamodules.ranks import RankShare
from datamodules.split import Split
from datamodules.training import ImageLoading
from tests.helpers import shard_fakes as fakes
from vitrine.core.batch import Batch

EPOCHS = 2


class RowTable:
    """Features that are the row itself."""

    def batch(self, rows: Any) -> Batch:
        return Batch(key=[str(row) for row in rows.tolist()])


def loaders(split: Split, rows: Indices, world: int, size: int, workers: int, kind: str) -> list[EpochLoader]:
    """Those of all ranks."""
    options = LoadingOptions(batch_size=size, num_workers=workers, shuffle_buffer=20 if kind == "windows" else 100)
    found = []
    for rank in range(world):
        loading = ImageLoading(fakes.TINY, options, RankShare(rank, world), SkipCounter())
        progress = fakes.StandingProgress(trained_batches=None)
        if kind == "features":
            table: Any = RowTable()
            found.append(loading.feature_epochs(table, loading.order(split, rows), progress))
        else:
            mask = split.every_sample() & False
            mask[rows] = True
            found.append(loading.epochs(split, mask, progress))
    return found


def rows_of(batch: Batch) -> list[int]:
    return batch["row"].tolist() if "row" in batch else [int(key) for key in batch["key"]]


def global_batches(of_ranks: list[EpochLoader], epochs: int) -> list[frozenset[int]]:
    drawn = []
    for _ in range(epochs):
        for parts in zip(*of_ranks, strict=True):
            drawn.append(frozenset(itertools.chain(*map(rows_of, parts))))
            assert sum(len(rows_of(part)) for part in parts) == len(drawn[-1])
    return drawn


def stopped_and_resumed(first: list[EpochLoader], second: list[EpochLoader], stop: int) -> list[frozenset[int]]:
    """Draws ``stop`` global batches from the one, and the rest of the epoch and another one from the other."""
    iterators = [iter(loader) for loader in first]
    drawn = [frozenset(itertools.chain(*(rows_of(next(part)) for part in iterators))) for _ in range(stop)]
    (state,) = {tuple(loader.state_dict().items()) for loader in first}
    for loader in second:
        loader.load_state_dict(dict(state))
    return drawn + global_batches(second, EPOCHS - dict(state)["epoch"])


GLOBAL_BATCHES = {6: [(1, 6), (2, 3), (3, 2), (6, 1)], 12: [(1, 12), (2, 6), (3, 4), (4, 3)]}
KINDS = ["images", "windows", "features"]


@given(
    st.sampled_from(KINDS),
    st.sampled_from(GLOBAL_BATCHES[6]),
    st.sampled_from(GLOBAL_BATCHES[6]),
    st.integers(0, 7),
    st.integers(1, 43),
)
def test_the_same_global_batches_in_the_same_order_wherever_it_was_stopped(
    few: Path, kind: str, before: tuple[int, int], after: tuple[int, int], stop: int, count: int
) -> None:
    split = Split.read(few / "train")
    rows = split.every_sample().nonzero()[0][:count]
    stop = min(stop, -(-count // 6))
    never_stopped = global_batches(loaders(split, rows, 1, 6, 0, kind), EPOCHS)
    first, second = (loaders(split, rows, *place, 0, kind) for place in (before, after))
    assert stopped_and_resumed(first, second, stop) == never_stopped


@given(
    st.sampled_from(KINDS),
    st.tuples(st.integers(1, 4), st.integers(1, 9)),
    st.tuples(st.integers(1, 4), st.integers(1, 9)),
    st.integers(0, 9),
)
def test_with_another_batch_size_each_sample_once_an_epoch(
    few: Path, kind: str, before: tuple[int, int], after: tuple[int, int], stop: int
) -> None:
    split = Split.read(few / "train")
    rows = split.every_sample().nonzero()[0]
    stop = min(stop, -(-43 // (before[0] * before[1])))
    first, second = (loaders(split, rows, *place, 0, kind) for place in (before, after))
    drawn = [row for batch in stopped_and_resumed(first, second, stop) for row in sorted(batch)]
    assert len(drawn) == EPOCHS * 43
    assert sorted(drawn[:43]) == sorted(drawn[43:]) == list(range(43))


@pytest.mark.parametrize("kind", ["images", "windows"])
def test_workers_change_nothing(few: Path, kind: str) -> None:
    split = Split.read(few / "train")
    rows = split.every_sample().nonzero()[0]
    never_stopped = global_batches(loaders(split, rows, 1, 6, 0, kind), EPOCHS)
    first, second = loaders(split, rows, 1, 6, 1, kind), loaders(split, rows, 2, 3, 3, kind)
    assert stopped_and_resumed(first, second, 3) == never_stopped


def test_images_and_features_come_in_one_order(few: Path) -> None:
    split = Split.read(few / "train")
    rows = split.every_sample().nonzero()[0]
    images, features = (loaders(split, rows, 2, 4, 0, kind) for kind in ("images", "features"))
    for one, other in zip(images, features, strict=True):
        assert [rows_of(batch) for batch in one] == [rows_of(batch) for batch in other]
    assert isinstance(features[0].make.__self__, ShuffledFeatures)  # type: ignore[attr-defined]
