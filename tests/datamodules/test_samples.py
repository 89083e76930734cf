"""Samples of shards: decoded, collated, and what is told of a broken one."""

from pathlib import Path
from typing import Any

import pytest
import torch

from datamodules.samples import SampleError, collate, record_of
from datamodules.split import Split
from tests.helpers.shard_fakes import write_split


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


def test_collating_stacks_tensors_and_keeps_lists() -> None:
    sample = {"key": "a", "image": torch.ones(3, 2, 2), "label": torch.tensor(1), "boxes": torch.zeros(2, 4), "row": 5}
    batch: Any = collate([sample, {**sample, "key": "b", "boxes": torch.zeros(0, 4), "row": 6}])
    assert batch["key"] == ["a", "b"]
    assert batch["image"].shape == (2, 3, 2, 2)
    assert [len(boxes) for boxes in batch["boxes"]] == [2, 0]
    assert batch["row"].tolist() == [5, 6]
