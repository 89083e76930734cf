"""Birds: the official split, or one of so many training images a class."""

from pathlib import Path
from typing import Any

import pytest

from datamodules import CUBDataModule
from datamodules.options import LoadingOptions
from tests.helpers.bird_sets import write_cub
from tests.helpers.shard_fakes import TINY


def birds(folder: Path, **options: Any) -> CUBDataModule:
    """Three classes of six official training and four test images."""
    root = folder / "CUB_200_2011"
    if not root.is_dir():
        write_cub(root, classes=3, train=6, test=4)
    loading = LoadingOptions(num_workers=0, val_fraction=0)
    data = CUBDataModule(folder / "shards", root, preprocessing=TINY, loading=loading, **options)
    data.prepare_data()
    return data


@pytest.mark.parametrize(("per_class", "train"), [(None, 6), (5, 5), (7, 7)])
def test_how_many_are_trained_on(tmp_path: Path, per_class: int | None, train: int) -> None:
    data = birds(tmp_path, train_per_class=per_class)
    data.setup("fit")
    assert data.class_counts == [train] * 3
    assert data.num_samples("test") == 3 * (10 - train)
    assert data.annotations == {"boxes", "parts"}


def test_shards_of_another_split_are_refused(tmp_path: Path) -> None:
    birds(tmp_path)
    with pytest.raises(ValueError, match=r"was made from .*CUB_200_2011, not from"):
        birds(tmp_path, train_per_class=3)


def test_less_than_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="train_per_class is 0; give 1 or more or null"):
        birds(tmp_path, train_per_class=0)
