"""What ``shards`` may name: folders, tar files, patterns, URLs and commands, all of which give the same batches."""

import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from datamodules.split_sources import is_set_folder, read_splits
from tests.helpers import shard_fakes as fakes
from tests.helpers.flaky_server import Served, serving
from vitrine.core.options import OptionError
from vitrine.data.shards.tar_samples import ShardError
from vitrine.data.streams import fetching
from vitrine.data.streams.shard_cache import ShardCacheOptions


@pytest.fixture
def served(few: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(fetching, "FIRST_WAIT_SECONDS", 0)
    with serving(few) as server:
        server.status = lambda name, number: 503 if number % 2 and name.endswith("2.tar") else 200
        yield server


def keys(data: Any) -> list[str]:
    return list(itertools.chain(*fakes.keys_of(data.train_dataloader())))


@pytest.mark.parametrize(
    "location",
    [
        "FEW",
        "FEW/train",
        "FEW/train/shard-{000000..000002}.tar",
        "FEW/train/*.tar",
        {"train": "FEW/train", "test": "FEW/test/*.tar"},
        "URL",
        "URL/train",
        "URL/train/shard-{000000..000002}.tar",
        {"train": "pipe:cat FEW/train/shard-{000000..000002}.tar"},
    ],
)
def test_one_set_however_it_is_named(few: Path, tmp_path: Path, served: Served, location: Any) -> None:
    def placed(text: str) -> str:
        return text.replace("FEW", str(few)).replace("URL", served.url)

    shards = placed(location) if isinstance(location, str) else {name: placed(of) for name, of in location.items()}
    expected = keys(fakes.at(fakes.module_of(few)))
    for workers in (0, 2):
        options = {"num_workers": workers, "shard_cache": ShardCacheOptions(tmp_path / "cache"), "shards": shards}
        data = fakes.at(fakes.module_of(few, **options))
        assert keys(data) == expected
        assert data.train_count == 43


def test_each_shard_is_fetched_once_by_all_ranks(tmp_path: Path, served: Served) -> None:
    drawn = []
    for rank in range(2):
        options = {"shard_cache": ShardCacheOptions(tmp_path / "cache"), "num_workers": 2}
        drawn += keys(fakes.at(fakes.module_of(tmp_path, **options, shards=served.url), rank, 2))
    assert len(set(drawn)) == 39
    tars = {name: count for name, count in served.requests.items() if name.endswith(".tar")}
    assert tars == {f"train/shard-00000{number}.tar": 2 if number == 2 else 1 for number in range(3)}


def test_some_of_the_files_have_the_names_of_all_classes(few: Path, tmp_path: Path, served: Served) -> None:
    for folder in (few, served.url):
        splits = read_splits(f"{folder}/train/shard-{{000000..000001}}.tar", ShardCacheOptions(tmp_path / "cache"))
        index = splits["train"].index
        assert index.count == sum(index.class_counts) == 34
        assert index.classes == list(fakes.CLASSES)


def test_tar_files_without_an_index_are_read_for_one(few: Path, tmp_path: Path) -> None:
    shutil.copytree(few / "train", tmp_path / "train", ignore=shutil.ignore_patterns("index.json"))
    split = read_splits(f"{tmp_path}/train/*.tar", ShardCacheOptions(tmp_path / "cache"))["train"]
    assert split.index.count == 43
    assert split.index.classes == ["0", "1", "2"]


def test_damage_on_the_way_is_named_or_skipped(tmp_path: Path, served: Served) -> None:
    served.change = lambda name, _, data: data[:-1] + b"x" if name.endswith("1.tar") else data
    cache = ShardCacheOptions(tmp_path / "cache", tries=2)
    options = {"shard_cache": cache, "val_fraction": 0.0, "shards": served.url}
    with pytest.raises(ValueError, match=r"shard-000001\.tar could not be read in 2 tries \(its sha256"):
        keys(fakes.at(fakes.module_of(tmp_path, **options)))
    data = fakes.at(fakes.module_of(tmp_path, **options, on_error="skip"))
    with pytest.warns(UserWarning, match=r"Left out \(train\)"):
        assert len(keys(data)) == 26
    assert len(data.skipped.take("train")) == 17


def test_what_is_not_there_is_named(few: Path, tmp_path: Path, served: Served) -> None:
    cache = ShardCacheOptions(tmp_path / "cache")
    assert read_splits(tmp_path / "none", cache) == {}
    with pytest.raises(FileNotFoundError, match=f"{served.url}/none holds no shards in train/ or test/; check"):
        fakes.at(fakes.module_of(few, shards=f"{served.url}/none"))
    with pytest.raises(OptionError, match=r"shards is 'valid'; give locations under train, val and test"):
        read_splits({"valid": str(few)}, cache)
    with pytest.raises(OptionError, match=r"shards\.train is '.*none'; give a folder with index\.json, or tar files"):
        read_splits({"train": f"{tmp_path}/none"}, cache)
    with pytest.raises(ShardError, match="stands for no file"):
        read_splits(f"{tmp_path}/*.tar", cache)
    shutil.copy(next((few / "train").glob("*.tar")), tmp_path / "x.tar")
    with pytest.raises(OptionError, match=r"shards is .*x\.tar'; give it under the name of its split"):
        read_splits(f"{tmp_path}/x.tar", cache)


@pytest.mark.parametrize(
    ("shards", "is_folder"),
    [("data/set", True), (Path("data/set"), True), ("http://host/set", False), ("a-{0..1}.tar", False), ({}, False)],
)
def test_only_folders_can_be_written_to(shards: Any, is_folder: bool) -> None:
    assert is_set_folder(shards) is is_folder


def test_a_set_at_a_url_on_the_command_line(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import train

    monkeypatch.chdir(tmp_path)
    options = ["--data", "ShardDataModule", "--data.init_args.preprocessing.size=8", "--trainer.fast_dev_run=true"]
    model = ["--model", "tests.helpers.shard_fakes.Recorder", "--trainer.logger=false"]
    shards = json.dumps({"train": f"{served.url}/train/shard-{{000000..000001}}.tar", "test": f"{served.url}/test"})
    where = ["--data.init_args.shards", shards, "--data.init_args.shard_cache.folder", "copies"]
    data = train.main(["fit", *options, *model, *where, "--trainer.enable_progress_bar=false"]).datamodule
    assert data.train_count == 34
    assert len(list((tmp_path / "copies").glob("[!.]*.tar"))) == 2
