"""Indexes of tar files that have none, or of some of those that an index lists."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.shard_fakes import write_split
from tests.vitrine.data.shards.test_tar_samples import write
from vitrine.data.shards import indexing
from vitrine.data.shards.indexing import index_once, index_tars
from vitrine.data.shards.schema import ShardIndex, parse_index
from vitrine.data.shards.tar_samples import ShardError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_split(tmp_path_factory.mktemp("index") / "set", "train", 10, 4) / "train"


def tars(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.tar"))


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def test_all_files_give_the_index_that_the_writer_wrote(folder: Path) -> None:
    written, paths = parse_index(folder), tars(folder)
    assert index_tars(paths, names(paths), "train", written) == written
    alone = index_tars(paths, names(paths), "train", None)
    assert alone == replace(written, dataset=paths[0].stem, classes=["0", "1", "2"])


def test_some_files_have_counts_of_their_own(folder: Path) -> None:
    paths = tars(folder)[1:]
    some = index_tars(paths, names(paths), "train", parse_index(folder))
    assert some.count == sum(some.class_counts) == 6
    assert some.classes == ["ant", "bee", "cat"]


@pytest.mark.parametrize("kind", ["flower_shards", "voc_set"])
def test_annotations_and_several_labels(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if kind == "voc_set":
        from vitrine.data.shards.converter import write_set
        from vitrine.data.shards.converters.voc import list_voc, year_folder

        split = tmp_path / "train"
        write_set(
            list_voc(year_folder(request.getfixturevalue("voc_root")), "trainval"),
            split,
            shard_size=9,
            workers=0,
            seed=0,
        )
    else:
        split = request.getfixturevalue(kind) / "train"
    paths, written = tars(split), parse_index(split)
    made = index_tars(paths, names(paths), written.split, None)
    assert made.annotations == written.annotations != []
    assert made.multi_label == written.multi_label
    assert made.class_counts == written.class_counts[: len(made.classes)]


def test_it_is_made_once_for_the_same_files(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied = Path(shutil.copytree(folder, tmp_path / "copied"))
    paths = tars(copied)
    made: list[str] = []

    def counted(*of: Any) -> ShardIndex:
        made.append(of[2])
        return index_tars(*of)

    monkeypatch.setattr(indexing, "index_tars", counted)
    for _ in range(2):
        index = index_once(paths, names(paths), "train", None, tmp_path / "kept")
        assert index.count == 10
    assert len(made) == 1
    shutil.copy(paths[2], paths[0])
    assert index_once(paths, names(paths), "train", None, tmp_path / "kept").count == 8
    assert len(made) == 2


def test_other_bytes_than_the_index_lists_are_named(folder: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(folder, tmp_path / "copied"))
    paths = tars(copied)
    shutil.copy(paths[1], paths[0])
    with pytest.raises(ShardError, match=r"shard-000000\.tar has not the sha256 that index\.json lists"):
        index_tars(paths, names(paths), "train", parse_index(folder))


def test_files_of_something_else_are_named(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain.tar", [("a.jpg", b"1"), ("a.cls", b"3")])
    with pytest.raises(ShardError, match=rf"{plain} has no record a\.json with a label"):
        index_tars([plain], ["plain.tar"], "train", None)
    (tmp_path / "cut.tar").write_bytes(plain.read_bytes()[:600])
    with pytest.raises(ShardError, match=r"cut\.tar is broken"):
        index_tars([tmp_path / "cut.tar"], ["cut.tar"], "train", None)
