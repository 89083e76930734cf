"""CUB through its datamodule: the official split, and one of one's own."""

from pathlib import Path

import pytest

from datamodules import CUBDataModule
from tests.helpers.bird_sets import write_cub
from tests.helpers.image_datamodules import OPTIONS, counts, ready
from vitrine.core.options import OptionError


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("birds") / "CUB_200_2011"
    write_cub(folder, classes=3, train=4, test=2, size=40)
    return folder


@pytest.mark.parametrize(
    ("train_per_class", "expected"), [(None, {"train": 12, "test": 6}), (5, {"train": 15, "test": 3})]
)
def test_splits(train_per_class: int | None, expected: dict[str, int], root: Path, tmp_path: Path) -> None:
    data = ready(CUBDataModule(tmp_path / "shards", root, train_per_class, **OPTIONS))
    assert counts(data) == expected
    batch = next(iter(data.test_dataloader()))
    assert {"boxes", "parts"} <= batch.keys()


def test_a_number_below_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="train_per_class is 0"):
        CUBDataModule(tmp_path, None, 0)


def test_without_a_root_it_says_how_shards_are_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"python -m vitrine\.shards cub"):
        ready(CUBDataModule(tmp_path / "shards", tmp_path / "nowhere", **OPTIONS))
