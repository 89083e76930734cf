"""Each sample once over all ranks and workers, for a module that is fitted in one pass and for whoever asks."""

import itertools
import tarfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from datamodules.options import LoadingOptions
from tests.helpers import shard_fakes as fakes


def once_at(data: Any, rank: int, world: int, extractor: Any = None) -> Any:
    """The datamodule on one of several ranks, for a module that is fitted in one pass."""
    fakes.at(data, rank, world)
    data.trainer.lightning_module = SimpleNamespace(one_pass=True, feature_extractor=extractor, explained_classes=())
    data.trainer.strategy = SimpleNamespace(broadcast=lambda value: value)
    data.trainer.is_global_zero = True  # each rank stands alone here, and says itself what it would hear of rank zero
    return data


def keys_in_order(shards: Path, name: str = "train", fraction: float = 0.0) -> list[str]:
    """The keys of a split as they stand in the tar files, without that share of them, spread evenly."""
    keys = []
    for path in sorted((shards / name).glob("*.tar")):
        with tarfile.open(path) as tar:
            keys += [member.name.partition(".")[0] for member in tar if member.name.endswith(".json")]
    return [key for n, key in enumerate(keys) if int((n + 1) * fraction) == int(n * fraction)]


@pytest.mark.parametrize("batch_size", [1, 12])
@pytest.mark.parametrize(("world", "workers"), [(1, 0), (1, 3), (2, 0), (2, 2), (3, 0), (3, 1)])
def test_a_fit_in_one_pass_draws_each_training_sample_once(
    few: Path, world: int, workers: int, batch_size: int
) -> None:
    """Each rank as many batches as its loader says, and as the others; samples are held out as ever."""
    loaders = []
    for rank in range(world):
        data = fakes.module_of(few, batch_size=batch_size, num_workers=workers, cache=False)
        loaders.append(once_at(data, rank, world).train_dataloader())
    drawn = [list(loader) for loader in loaders]
    keys = [key for batches in drawn for batch in batches for key in batch["key"]]
    assert Counter(keys) == Counter(keys_in_order(few, fraction=0.1))
    assert len(keys) == 39
    (length,) = {len(loader) for loader in loaders}
    assert {len(batches) for batches in drawn} == {length}
    for batch in itertools.chain(*drawn):
        assert len(batch["image"]) == len(batch["label"]) == len(batch["key"]) <= batch_size
        assert batch["image"].shape[1:] == (3, 8, 8)


@pytest.mark.parametrize("batch_size", [1, 12])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_kept_features_for_a_fit_in_one_pass(few: Path, tmp_path: Path, world: int, batch_size: int) -> None:
    extractor = fakes.MeanColour()
    pl.Trainer(max_epochs=1, **fakes.QUIET).fit(
        fakes.Recorder(extractor), datamodule=fakes.module_of(few, folder=tmp_path)
    )
    drawn = []
    for rank in range(world):
        data = fakes.module_of(few, batch_size=batch_size, folder=tmp_path)
        loader = once_at(data, rank, world, extractor).train_dataloader()
        drawn.append(list(loader))
        assert len(drawn[-1]) == len(loader)
    assert len({len(batches) for batches in drawn}) == 1
    batches = list(itertools.chain(*drawn))
    assert Counter(key for batch in batches for key in batch["key"]) == Counter(keys_in_order(few, fraction=0.1))
    assert all(batch["features"].shape == (len(batch["label"]), 3) for batch in batches)
    assert extractor.images == 44  # none anew


class Once(pl.LightningModule):
    """Takes in each sample once; keeps keys and labels."""

    one_pass, feature_extractor, explained_classes = True, None, ()

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.keys: list[str] = []

    def training_step(self, batch: Any) -> None:
        self.keys += batch["key"]

    def configure_optimizers(self) -> None:
        pass


@pytest.mark.parametrize(("workers", "batch_size"), [(0, 9), (2, 9), (3, 20), (3, 7)])
def test_a_trainer_draws_them_all(few: Path, workers: int, batch_size: int) -> None:
    """It stops at the length that it was told, so that a last worker's small batch is not left."""
    module = Once()
    data = fakes.module_of(few, num_workers=workers, batch_size=batch_size, cache=False)
    pl.Trainer(max_epochs=1, **fakes.QUIET).fit(module, datamodule=data)
    assert Counter(module.keys) == Counter(keys_in_order(few, fraction=0.1))


def test_a_rank_without_samples_draws_an_empty_batch(tmp_path: Path) -> None:
    shards = fakes.write_split(tmp_path / "set", "train", 2)
    (batch,) = once_at(fakes.module_of(shards, val_fraction=0.0, batch_size=1), 2, 3).train_dataloader()
    assert batch["key"] == []
    assert batch["image"].shape == (0, 3, 8, 8)


def test_other_modules_still_get_shuffled_epochs(few: Path) -> None:
    data = fakes.at(fakes.module_of(few))
    first, second = fakes.keys_of(data.train_dataloader()), fakes.keys_of(data.train_dataloader())
    assert first == second  # the same epoch
    assert list(itertools.chain(*first)) != keys_in_order(few, fraction=0.1)[: 4 * len(first)]


# Whoever asks


@pytest.mark.parametrize(("name", "count"), [("train", 39), ("test", 11)])
@pytest.mark.parametrize("world", [1, 2, 5])
def test_every_image_of_a_split_once_over_all_ranks(few: Path, name: str, count: int, world: int) -> None:
    ranks = []
    for rank in range(world):
        data = fakes.at(fakes.module_of(few), rank, world)
        assert data.num_samples(name) == count
        ranks.append(fakes.keys_of(data.every_image(name)))
    dealt = [batch for turn in itertools.zip_longest(*ranks, fillvalue=[]) for batch in turn]
    assert list(itertools.chain(*dealt)) == keys_in_order(few, name, 0.1 if name == "train" else 0.0)
    assert {len(batch) for batch in dealt} <= {0, 4, count % 4}


def test_nothing_is_held_out_where_there_is_a_validation_set(tmp_path: Path) -> None:
    shards = fakes.write_split(tmp_path / "set", "train", 20)
    fakes.write_split(shards, "val", 5)
    data = fakes.at(fakes.module_of(shards))
    assert data.num_samples("train") == 20
    assert data.num_samples("val") == 5


def test_every_sample_has_kept_features_where_there_may_be_some(few: Path, tmp_path: Path) -> None:
    """The same samples either way, and the features of their images."""
    extractor = fakes.MeanColour()
    options = {"folder": tmp_path, "batch_size": 7}
    pl.Trainer(max_epochs=1, **fakes.QUIET).fit(fakes.Recorder(extractor), datamodule=fakes.module_of(few, **options))
    kept, streamed = fakes.module_of(few, **options), fakes.module_of(few, **options, augment=True)
    found: list[dict[str, Tensor]] = []
    for data in (kept, streamed):
        once_at(data, 0, 1, extractor)
        found.append({})
        for batch in data.every_sample("train"):
            assert ("features" in batch) == (data is kept)
            features = batch["features"] if "features" in batch else extractor(batch["image"])["features"]
            found[-1].update(zip(batch["key"], features, strict=True))
    assert list(found[0]) == list(found[1]) == keys_in_order(few, fraction=0.1)
    for key, value in found[0].items():  # not augmented, as the fit of a scaling needs them
        torch.testing.assert_close(found[1][key], value)


def test_an_unknown_split(few: Path) -> None:
    with pytest.raises(FileNotFoundError, match="val holds no shards"):
        fakes.at(fakes.module_of(few)).every_image("val")


@pytest.mark.parametrize("own_split", [False, True])
def test_folds_for_cross_validation(tmp_path: Path, own_split: bool) -> None:
    """Each training image is held out once, and trained on in all other folds, also where there is a split ``val``."""
    shards = fakes.write_split(tmp_path / "set", "train", 20)
    if own_split:
        fakes.write_split(shards, "val", 5)
    every = [f"train_{number:03d}" for number in range(20)]
    held_out: list[str] = []
    for fold in range(3):
        data = fakes.at(fakes.module_of(shards, val_folds=3, val_fold=fold))
        own = list(itertools.chain(*fakes.keys_of(data.val_dataloader())))
        trained = list(itertools.chain(*fakes.keys_of(data.train_dataloader())))
        assert sorted([*own, *trained]) == every
        assert data.num_samples("train") == len(trained)
        held_out += own
    assert sorted(held_out) == every


def test_folds_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="val_fold is 3; give one of 0 to 2, the folds of val_folds"):
        LoadingOptions(val_folds=3, val_fold=3)
    with pytest.raises(ValueError, match="val_fold is 1; give 0, or val_folds as well"):
        LoadingOptions(val_fold=1)
