import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from tests.helpers import shard_fakes as fakes
from tests.helpers.ranks import RankPool
from vitrine.data.preprocessing import Preprocessing


def fit(data: Any, extractor: Any) -> Any:
    module = fakes.Recorder(extractor)
    pl.Trainer(max_epochs=1, **fakes.QUIET).fit(module, datamodule=data)
    return module


def stores(data: Any) -> list[Path]:
    return sorted(data.features.folder.iterdir())


@pytest.mark.parametrize("workers", [0, 2])
def test_features_are_computed_once(few: Path, tmp_path: Path, workers: int) -> None:
    extractor = fakes.MeanColour()
    data = fakes.module_of(few, folder=tmp_path, num_workers=workers)
    module = fit(data, extractor)
    assert extractor.images == 43 + 1  # one image tells their width
    fit(fakes.module_of(few, folder=tmp_path), extractor)
    assert extractor.images == 44
    train, val = (set(itertools.chain(*module.seen[name])) for name in ("train", "val"))
    assert len(train) == 39
    assert len(val) == 4
    assert not train & val


def test_augmented_or_unwanted_features_are_not_kept(few: Path, tmp_path: Path) -> None:
    extractor = fakes.MeanColour()
    fit(fakes.module_of(few, folder=tmp_path, augment=True), extractor)
    fit(fakes.module_of(few, folder=tmp_path, cache=False), extractor)
    assert extractor.images == 0
    assert not list(tmp_path.iterdir())


def test_other_weights_images_or_preprocessing_make_other_stores(few: Path, many: Path, tmp_path: Path) -> None:
    data = fakes.module_of(few, folder=tmp_path)
    fit(data, fakes.MeanColour())
    fit(data, fakes.MeanColour("other weights"))
    assert len(stores(data)) == 2
    fit(fakes.module_of(few, folder=tmp_path, preprocessing=Preprocessing(8, None)), fakes.MeanColour())
    assert len(stores(data)) == 3
    fit(fakes.module_of(many, folder=tmp_path), fakes.MeanColour())
    assert len(stores(data)) == 4


@pytest.mark.parametrize("workers", [0, 2])
def test_an_interrupted_pass_computes_the_rest_only(few: Path, tmp_path: Path, workers: int) -> None:
    data = fakes.module_of(few, folder=tmp_path / "cut", num_workers=workers)
    with pytest.raises(RuntimeError, match="killed"):
        fit(data, fakes.MeanColour(limit=1 + 5 * 4))
    (folder,) = stores(data)
    done = np.load(folder / "done.npy")
    assert done.sum() == 20
    assert not (folder / "manifest.json").exists()
    extractor = fakes.MeanColour()
    fit(fakes.module_of(few, folder=tmp_path / "cut"), extractor)
    assert extractor.images == 1 + 23
    whole = fakes.module_of(few, folder=tmp_path / "whole")
    fit(whole, fakes.MeanColour())
    for name in ("features", "logits", "labels", "keys"):
        assert np.array_equal(np.load(folder / f"{name}.npy"), np.load(stores(whole)[0] / f"{name}.npy"))


@pytest.mark.parametrize("multi_label", [False, True])
def test_kept_features_are_those_of_the_streamed_images(tmp_path: Path, *, multi_label: bool) -> None:
    shards = fakes.write_split(tmp_path / "set", "train", 20, 6, multi_label=multi_label)
    shards = fakes.write_split(shards, "val", 7, multi_label=multi_label)
    data = fakes.module_of(shards, val_fraction=0.0)
    extractor = fakes.MeanColour()
    fit(data, extractor)
    kept = itertools.chain(data.train_dataloader(), data.val_dataloader())
    by_key = {key: (batch, place) for batch in kept for place, key in enumerate(batch["key"])}
    assert len(by_key) == 27
    streamed = fakes.at(fakes.module_of(shards, batch_size=1, val_fraction=0.0))
    for batch in itertools.chain(streamed.train_dataloader(), streamed.val_dataloader()):
        other, place = by_key.pop(batch["key"][0])
        computed = extractor(batch["image"])
        torch.testing.assert_close(other["features"][place], computed["features"][0])
        torch.testing.assert_close(other["logits"][place], computed["logits"][0])
        assert torch.equal(other["label"][place], batch["label"][0])
        assert other["label"].dtype == batch["label"].dtype == (torch.float32 if multi_label else torch.int64)
    assert not by_key
    assert data.multi_label == multi_label


def test_labels_of_several_classes_are_multi_hot(tmp_path: Path) -> None:
    data = fakes.at(fakes.module_of(fakes.write_split(tmp_path / "set", "test", 6, multi_label=True)))
    labels = {key: row.tolist() for batch in data.test_dataloader() for key, row in
              zip(batch["key"], batch["label"], strict=True)}  # fmt: skip
    assert [labels[f"test_{number:03d}"] for number in range(3)] == [[0, 0, 0], [1, 0, 0], [1, 1, 0]]


def test_orders_of_kept_features_share_evenly(few: Path, tmp_path: Path) -> None:
    from datamodules.feature_batches import OrderedFeatures, ShuffledFeatures
    from datamodules.ranks import RankShare
    from vitrine.data.feature_store import FeatureTable

    data = fakes.module_of(few, folder=tmp_path)
    fit(data, fakes.MeanColour())
    table = FeatureTable(stores(data)[0])
    assert len(table) == 43
    rows = torch.arange(3, 43)
    for world in (1, 2, 3):
        shares = [RankShare(rank, world) for rank in range(world)]
        loaders = [ShuffledFeatures(table, rows, 4, share) for share in shares]
        epochs = [[fakes.keys_of(loader.epoch(number)) for loader in loaders] for number in (0, 0, 1)]
        assert epochs[0] == epochs[1] != epochs[2]
        assert len({len(loader) for loader in loaders}) == 1
        assert [len(batches) for batches in epochs[0]] == [len(loader) for loader in loaders]
        keys = list(itertools.chain(*itertools.chain(*epochs[0])))
        assert len(keys) == len(set(keys)) == 40 - 40 % world
        assert fakes.keys_of(loaders[0].epoch(0, 2)) == epochs[0][0][2:]
        once = itertools.chain(*(OrderedFeatures(table, rows, 4, share) for share in shares))
        assert sorted(itertools.chain(*fakes.keys_of(once))) == sorted(key.decode() for key in table.keys[3:].tolist())
    none = OrderedFeatures(table, rows[:1], 4, RankShare(1, 2))
    assert len(none) == 1  # a loader of length 0 would be skipped, with the hooks in which the other ranks wait
    assert list(none) == []


@pytest.fixture(scope="module")
def two_runs(ranks: RankPool, few: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """What one process and two processes wrote."""
    folders = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    images = few.parent / "set_test_images"
    fakes.run(0, few, images, folders[0], devices=1)
    ranks.run(fakes.run, few, images, folders[1], 2, folder=folders[1])
    return folders


def seen(folder: Path, run: str) -> list[Any]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob(f"{run}_*.json"))]


def test_two_processes_write_the_store_that_one_writes(two_runs: tuple[Path, Path]) -> None:
    one, two = (sorted((folder / "features").iterdir()) for folder in two_runs)
    assert [folder.name for folder in one] == [folder.name for folder in two]
    for folder, other in zip(one, two, strict=True):
        assert {path.name for path in folder.iterdir()} == {path.name for path in other.iterdir()}
        for path in folder.glob("*.npy"):
            assert np.array_equal(np.load(path), np.load(other / path.name)), path.name


@pytest.mark.parametrize("run", ["kept", "streamed"])
def test_two_processes_share_the_samples_out(two_runs: tuple[Path, Path], run: str) -> None:
    (whole,), (first, second) = (seen(folder, run) for folder in two_runs)
    assert first["weight"] == second["weight"]
    assert len(first["train"]) == len(second["train"])
    for stage in ("val", "test", "predict"):
        keys = [key for rank in (first, second) for batch in rank[stage] for key in batch]
        assert sorted(keys) == sorted(itertools.chain(*whole[stage])), stage
    epoch = [key for rank in (first, second) for batch in rank["train"][: len(rank["train"]) // 2] for key in batch]
    assert len(epoch) == len(set(epoch))
