"""One split: its rows, its decoded samples, and which samples are held out or shown first."""

import io
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from datamodules.panel import first_of_each_class
from datamodules.samples import SampleError, collate, record_of
from datamodules.split import Split
from tests.helpers.shard_fakes import write_split


@pytest.fixture
def split(few: Path) -> Split:
    return Split.read(few / "train")


def test_rows_are_counted_through_the_shards(split: Split) -> None:
    assert split.first_rows == [0, 17, 34]
    rows = [raw["row"] for shard in range(3) for raw in split.raw_samples(shard)]
    assert rows == list(range(43))
    assert_array_equal(split.every_sample(), np.ones(43, bool))


def test_a_decoded_sample(split: Split) -> None:
    raw = next(iter(split.raw_samples(0)))
    sample = split.decode(raw)
    assert sample["key"] == raw["__key__"]
    assert sample["image"].shape == (3, 10, 12)
    assert sample["image"].dtype == torch.uint8
    assert int(sample["label"]) == record_of(raw)["label"]


def test_labels_of_several_classes_are_multi_hot(tmp_path: Path) -> None:
    split = Split.read(write_split(tmp_path / "set", "test", 6, multi_label=True) / "test")
    for raw in split.raw_samples(0):
        classes = record_of(raw)["label"]
        assert split.decode(raw)["label"].tolist() == [float(index in classes) for index in range(3)]


def test_a_broken_image_and_one_that_is_missing_are_named(split: Split) -> None:
    raw = next(iter(split.raw_samples(0)))
    extension = next(name for name in raw if name in {"png", "jpg"})
    with pytest.raises(SampleError, match=f"The image of {raw['__key__']} in .* is broken"):
        split.decode({**raw, extension: b"no image"})
    with pytest.raises(SampleError, match=f"{raw['__key__']} in .* has no image"):
        split.decode({name: value for name, value in raw.items() if name != extension})


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


@pytest.mark.parametrize("count", [1, 4, 7, 100])
def test_classes_take_turns(split: Split, count: int) -> None:
    samples = first_of_each_class(split, count)
    assert [record_of(raw)["label"] for raw in samples][:9] == ([0, 1, 2] * 3)[:count]
    assert len(samples) == len({raw["row"] for raw in samples}) == min(count, 43)


def test_collating_stacks_tensors_and_keeps_lists() -> None:
    sample = {"key": "a", "image": torch.ones(3, 2, 2), "label": torch.tensor(1), "boxes": torch.zeros(2, 4), "row": 5}
    batch: Any = collate([sample, {**sample, "key": "b", "boxes": torch.zeros(0, 4), "row": 6}])
    assert batch["key"] == ["a", "b"]
    assert batch["image"].shape == (2, 3, 2, 2)
    assert [len(boxes) for boxes in batch["boxes"]] == [2, 0]
    assert batch["row"].tolist() == [5, 6]
