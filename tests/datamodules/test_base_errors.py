"""Datamodules: options and files that are wrong are named."""

import itertools
import multiprocessing
import shutil
from pathlib import Path

import pytest

from datamodules import ShardDataModule
from datamodules.options import LoadingOptions
from tests.helpers import shard_fakes as fakes


@pytest.mark.parametrize(
    ("option", "value"), [("val_fraction", -0.1), ("val_fraction", 0.6), ("batch_size", 0), ("num_workers", -1)]
)
def test_wrong_numbers_are_named(tmp_path: Path, option: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{option} is {value}; give"):
        ShardDataModule(tmp_path, loading=LoadingOptions(**{option: value}))  # type: ignore[arg-type]


@pytest.mark.parametrize(("fraction", "held_out"), [(0.0, 0), (0.1, 4), (0.3, 12), (0.4, 17), (0.5, 21)])
def test_the_share_held_out_is_the_one_asked_for(few: Path, fraction: float, held_out: int) -> None:
    data = fakes.at(fakes.module_of(few, val_fraction=fraction))
    assert sum(map(len, fakes.keys_of(data.val_dataloader()))) == held_out


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_in_a_shard_is_named(tmp_path: Path, workers: int) -> None:
    shards = fakes.write_split(tmp_path / "set", "test", 3)
    tar = next((shards / "test").glob("*.tar"))
    data = tar.read_bytes()
    start = data.index(b"IDAT")
    tar.write_bytes(data[: start + 4] + b"\xff" * 8 + data[start + 12 :])
    module = fakes.at(fakes.module_of(shards, num_workers=workers))
    with pytest.raises(ValueError, match=r"^The image of test_00\d in .*set/test is broken \(.*\); convert") as caught:
        fakes.keys_of(module.test_dataloader())
    assert "\n" not in str(caught.value)


def test_a_shard_cut_short_or_short_of_samples_is_named(few: Path, tmp_path: Path) -> None:
    shards = tmp_path / "set"
    shutil.copytree(few, shards)
    tar = sorted((shards / "train").glob("*.tar"))[1]
    whole = tar.read_bytes()
    tar.write_bytes(whole[: len(whole) // 2 + 100])
    module = fakes.at(fakes.module_of(shards, val_fraction=0.0))
    with pytest.raises(ValueError, match=rf"^{tar} (is broken|does not hold the 17 samples)"):
        fakes.keys_of(module.train_dataloader())
    shutil.copy(shards / "train" / "shard-000002.tar", tar)
    with pytest.raises(ValueError, match=rf"{tar} does not hold the 17 samples .* run python -m vitrine.shards verify"):
        fakes.keys_of(module.train_dataloader())


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_to_predict_is_named(tmp_path: Path, workers: int) -> None:
    fakes.write_images(tmp_path / "images" / "below", 2)
    (tmp_path / "images" / "torn.jpg").write_bytes(b"\xff\xd8 no picture")
    data = fakes.module_of(tmp_path / "none", predict_root=tmp_path / "images", num_workers=workers)
    data.setup("predict")
    with pytest.raises(ValueError, match=r"^\S*torn.jpg is no readable image \(.*\); mend or remove it") as caught:
        fakes.keys_of(data.predict_dataloader())
    assert "\n" not in str(caught.value)


def test_folders_without_images_are_named(few: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="predict_root is not given"):
        fakes.module_of(few).predict_dataloader()
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"predict_root .*empty holds no images \(.*\.jpg"):
        fakes.module_of(few, predict_root=tmp_path / "empty").predict_dataloader()
    with pytest.raises(FileNotFoundError, match=r"predict_root .*absent is no folder"):
        fakes.module_of(few, predict_root=tmp_path / "absent").predict_dataloader()


def test_no_worker_outlives_its_loader(few: Path) -> None:
    others = set(multiprocessing.active_children())  # such as those of a failed pass whose traceback is still held
    data = fakes.at(fakes.module_of(few, num_workers=2, predict_root=few.parent / "set_test_images"))
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader(), data.predict_dataloader()):
        fakes.keys_of(loader)
        fakes.keys_of(itertools.islice(loader, 1))
    assert set(multiprocessing.active_children()) <= others
