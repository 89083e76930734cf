"""A set of shards: splits that are absent or do not fit together."""

from dataclasses import replace
from pathlib import Path

import pytest

from datamodules import CUBDataModule, FlowerDataModule, FolderDataModule, ShardDataModule
from tests.helpers import shard_fakes as fakes


@pytest.mark.parametrize(
    ("kind", "remedy"),
    [
        (ShardDataModule, r"python -m vitrine.shards folder --root DIR --split train --out .*none/train"),
        (FolderDataModule, r"python -m vitrine.shards folder .* --out .*none/train"),
        (CUBDataModule, r"python -m vitrine.shards cub --root CUB_200_2011 .* --out .*none/train"),
        (FlowerDataModule, r"python -m vitrine.an8flower --variant single-6c --out .*none"),
    ],
)
def test_missing_shards_are_told_with_the_remedy(tmp_path: Path, kind: type[ShardDataModule], remedy: str) -> None:
    data = kind(tmp_path / "none")
    data.prepare_data()
    with pytest.raises(FileNotFoundError, match=rf"none holds no shards in train/ or test/; .*{remedy}"):
        data.setup("fit")
    data.setup("predict")
    with pytest.raises(FileNotFoundError, match=r"none/test holds no shards"):
        _ = data.classes


def test_a_missing_split_is_named(tmp_path: Path) -> None:
    data = fakes.module_of(fakes.write_split(tmp_path / "set", "train", 6))
    data.setup("test")
    with pytest.raises(FileNotFoundError, match=r"set/test holds no shards"):
        data.test_dataloader()
    assert data.annotations == frozenset()


@pytest.mark.parametrize(
    ("splits", "folds", "annotations"),
    [("train val", None, {"mask"}), ("train val", 3, {"boxes"}), ("train", None, {"boxes"}), ("val", None, {"mask"})],
)
def test_validation_images_have_the_annotations_of_the_split_that_they_come_from(
    tmp_path: Path, splits: str, folds: int | None, annotations: set[str]
) -> None:
    for split in splits.split():
        shards = fakes.write_split(tmp_path / "set", split, 6)
    data = fakes.module_of(shards, val_folds=folds)
    data.setup("validate")
    own = {"train": ["boxes"], "val": ["mask"]}
    data.splits = {
        name: replace(split, index=replace(split.index, annotations=own[name])) for name, split in data.splits.items()
    }
    assert data.validation_annotations == annotations


def test_splits_of_different_classes_are_refused(tmp_path: Path) -> None:
    shards = fakes.write_split(tmp_path / "set", "train", 6)
    data = fakes.module_of(fakes.write_split(shards, "test", 6, classes=2))
    with pytest.raises(ValueError, match=r"splits in .*set have different classes"):
        data.setup("fit")
