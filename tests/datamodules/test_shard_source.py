"""Shards are of the data set that is given, or are refused."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from datamodules import FolderDataModule, ImageNetDataModule, MNISTDataModule
from datamodules.shard_source import ShardSource, difference, listing_digest, source_record, stamp_of
from tests.helpers.image_sets import write_idx, write_mnist, write_picture
from vitrine.data.shards.converters.folder import list_folder
from vitrine.data.shards.converters.mnist import read_idx
from vitrine.data.shards.schema import parse_index


def write_set(root: Path, classes: str = "abc", per_class: int = 2, seed: int = 0) -> Path:
    """Two splits of small pictures in class folders."""
    for split in ("train", "test"):
        for place, name in enumerate(classes):
            for number in range(per_class):
                write_picture(root / split / name / f"{number}.png", seed=seed + 10 * place + number)
    return root


def prepare(shards: Path, root: Path | None, kind: Any = FolderDataModule) -> None:
    kind(shards, root).prepare_data()


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Shards of the set ``first``."""
    prepare(tmp_path / "shards", write_set(tmp_path / "first"))
    return tmp_path / "shards"


def test_shards_go_with_the_set_wherever_it_stands(made: Path, tmp_path: Path) -> None:
    first, moved = tmp_path / "first", tmp_path / "moved"
    for root in (first, None):
        prepare(made, root)
    first.rename(moved)
    prepare(made, moved)
    (moved / "train" / "a" / "0.png").touch()
    os.utime(moved / "train" / "a")
    prepare(made, moved)
    shutil.rmtree(moved)
    prepare(made, moved)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"classes": "abd"}, r"its classes are others \(c, d"),
        ({"classes": "ab"}, r"its classes are others \(c"),
        ({"per_class": 3}, "it has 9 samples, and the shards have 6"),
        ({"seed": 500}, "its samples have other names, sizes or annotation"),
        ({"classes": ""}, "it has no such split"),
    ],
)
def test_shards_of_another_set_are_refused(change: dict[str, Any], told: str, made: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    write_set(other, **change)
    with pytest.raises(
        ValueError, match=rf"shards/train was made from .*first, not from .*other.*{told}.*init_args\.root"
    ):
        prepare(made, other)


def test_a_set_that_has_changed_since_is_refused(made: Path, tmp_path: Path) -> None:
    write_picture(tmp_path / "first" / "train" / "a" / "new.png")
    with pytest.raises(ValueError, match="it has 7 samples, and the shards have 6"):
        prepare(made, tmp_path / "first")


def test_roots_that_are_none_are_refused(made: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"made from .*first, not from .*nowhere.*does not exist"):
        prepare(made, tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    for shards in (made, tmp_path / "fresh"):
        with pytest.raises(ValueError, match=r"file is a file; give the folder .*data\.init_args\.root"):
            prepare(shards, tmp_path / "file")


def test_shards_without_a_record_are_compared_once(made: Path, tmp_path: Path) -> None:
    """As those of a command line, or of an earlier release."""
    record = source_record(made, "train")
    record.unlink()
    with pytest.raises(ValueError, match=r"made from another data set, not from .*other"):
        prepare(made, write_set(tmp_path / "other", classes="abd"))
    with pytest.warns(UserWarning, match=r"nowhere does not exist: the shards in .*train are taken as they are"):
        FolderDataModule(made, tmp_path / "nowhere")._compare(tmp_path / "nowhere", "train")
    prepare(made, tmp_path / "first")
    source = ShardSource.read(record)
    assert source is not None
    assert source.is_unchanged(tmp_path / "first", {})
    assert not source.is_unchanged(tmp_path / "first", {"per_class": "3"})


def test_options_that_choose_among_samples_are_recorded() -> None:
    assert ImageNetDataModule("shards", per_class=3)._listing_options["per_class"] == "3"
    assert FolderDataModule("shards")._listing_options == {}


def test_a_listing_says_nothing_of_its_place(tmp_path: Path) -> None:
    first, second = (list_folder(write_set(tmp_path / name), "train") for name in ("one", "two"))
    assert listing_digest(first) == listing_digest(second)
    assert stamp_of(tmp_path / "one") != stamp_of(tmp_path / "two")
    prepare(tmp_path / "shards", tmp_path / "one")
    assert difference(second, parse_index(tmp_path / "shards" / "train")) is None


def test_a_damaged_record_is_none(tmp_path: Path) -> None:
    for text in ("", "[]", '{"root": "a"}', '{"root": "a", "options": 3, "stamp": "", "listing": ""}'):
        (tmp_path / "record").write_text(text)
        assert ShardSource.read(tmp_path / "record") is None


def test_pictures_that_are_no_files_count_too(tmp_path: Path) -> None:
    root = write_mnist(tmp_path / "MNIST")
    prepare(tmp_path / "shards", root, MNISTDataModule)
    path = root / "raw" / "train-images-idx3-ubyte.gz"
    write_idx(path, 255 - read_idx(path))
    os.utime(root / "raw", ns=(0, 0))
    with pytest.raises(ValueError, match=r"shards.train was made .* its samples have other"):
        prepare(tmp_path / "shards", root, MNISTDataModule)
