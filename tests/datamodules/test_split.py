"""One split: its rows, its shards, and which samples are held out or shown first."""

import io
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from datamodules.panel import first_of_each_class
from datamodules.samples import SampleError, record_of
from datamodules.split import Split
from tests.helpers.shard_fakes import write_split


def test_rows_are_counted_through_the_shards(split: Split) -> None:
    assert split.first_rows == [0, 17, 34]
    rows = [raw["row"] for shard in range(3) for raw in split.raw_samples(shard)]
    assert rows == list(range(43))
    assert_array_equal(split.every_sample(), np.ones(43, bool))


def test_a_shard_that_does_not_hold_what_its_index_says(tmp_path: Path) -> None:
    folder = write_split(tmp_path / "set", "test", 6) / "test"
    split = Split.read(folder)
    shard = folder / split.index.shards[0].file
    with tarfile.open(shard) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar.getmembers()]  # type: ignore[union-attr]
    with tarfile.open(shard, "w") as tar:
        for member, data in members[:-2]:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    with pytest.raises(SampleError, match="does not hold the 6 samples that its index lists; run"):
        list(split.raw_samples(0))


@pytest.mark.parametrize(("fraction", "rows"), [(0, []), (0.25, [3, 7]), (0.5, [1, 3, 5, 7]), (1, list(range(8)))])
def test_held_out_rows_are_spread_evenly(fraction: float, rows: list[int]) -> None:
    index: Any = SimpleNamespace(count=8)
    assert np.flatnonzero(Split(Path(), index).held_out(fraction)).tolist() == rows


def test_folds_hold_every_row_out_once() -> None:
    index: Any = SimpleNamespace(count=11)
    folds = [np.flatnonzero(Split(Path(), index).fold(3, number)).tolist() for number in range(3)]
    assert folds == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8]]


@pytest.mark.parametrize("count", [1, 4, 7, 100])
def test_classes_take_turns(split: Split, count: int) -> None:
    samples = first_of_each_class(split, count)
    assert [record_of(raw)["label"] for raw in samples][:9] == ([0, 1, 2] * 3)[:count]
    assert len(samples) == len({raw["row"] for raw in samples}) == min(count, 43)
