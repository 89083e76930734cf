"""Streams of training, validation and test: every sample in its share, in orders that seed and epoch decide."""

import itertools
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from tests.helpers import shard_fakes as fakes
from tests.helpers.ranks import RankPool

RANKS = (1, 2, 3)


def train_keys(shards: Path, world: int, epoch: int = 0, **options: Any) -> list[list[list[str]]]:
    data = fakes.module_of(shards, **options)
    return [fakes.keys_of(fakes.at(data, rank, world, epoch).train_dataloader()) for rank in range(world)]


@pytest.fixture(params=["few", "many"])
def shards(request: pytest.FixtureRequest) -> Path:
    return Path(request.getfixturevalue(request.param))


@pytest.mark.parametrize(("world", "workers"), list(itertools.product(RANKS, (0, 2))))
def test_every_sample_comes_once_in_validation_and_test(shards: Path, world: int, workers: int) -> None:
    data = fakes.module_of(shards, num_workers=workers, val_fraction=0.3)
    seen: dict[str, list[str]] = {"val": [], "test": []}
    for rank in range(world):
        fakes.at(data, rank, world)
        seen["val"] += itertools.chain(*fakes.keys_of(data.val_dataloader()))
        seen["test"] += itertools.chain(*fakes.keys_of(data.test_dataloader()))
    train = set(itertools.chain(*itertools.chain(*train_keys(shards, 1, val_fraction=0.3, batch_size=1))))
    assert sorted(seen["test"]) == [f"test_{number:03d}" for number in range(data.split("test").index.count)]
    assert len(seen["val"]) == len(set(seen["val"])) == int(0.3 * data.train_count)
    assert len(train) == data.train_count - len(seen["val"])
    assert not train & set(seen["val"])


@pytest.mark.parametrize(("world", "workers"), list(itertools.product(RANKS, (0, 2))))
def test_training_shares_are_equal_and_disjoint(shards: Path, world: int, workers: int) -> None:
    ranks = train_keys(shards, world, num_workers=workers, val_fraction=0.1)
    available = 39 if shards.parts[-2].startswith("few") else 135
    assert {len(batches) for batches in ranks} == {-(-available // (4 * world))}
    assert {len(batch) for batches in ranks for batch in batches[:-1]} == {4}
    keys = [key for batches in ranks for batch in batches for key in batch]
    assert len(keys) == len(set(keys)) == available


def test_too_few_samples_for_a_full_batch_make_a_smaller_one(few: Path) -> None:
    ranks = train_keys(few, 2, batch_size=64, val_fraction=0.0)
    assert [[len(batch) for batch in batches] for batches in ranks] == [[22], [21]]


def test_a_rank_without_samples_gets_empty_batches_of_the_right_shapes(tmp_path: Path) -> None:
    shards = fakes.write_split(tmp_path / "set", "train", 2)
    ranks = [list(fakes.at(fakes.module_of(shards, val_fraction=0.0), rank, 3).train_dataloader()) for rank in range(3)]
    assert [[len(batch["key"]) for batch in batches] for batches in ranks] == [[1], [1], [0]]
    (full,), (empty,) = ranks[0], ranks[2]
    assert full.keys() == empty.keys()
    assert empty["image"].shape == (0, 3, 8, 8)
    assert empty["label"].dtype == full["label"].dtype


def test_a_set_without_training_samples_is_refused(few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = fakes.at(fakes.module_of(few))
    monkeypatch.setattr(type(data), "_held_out", property(lambda self: self.split("train").every_sample()))
    with pytest.raises(ValueError, match="train holds no samples to train on"):
        data.train_dataloader()


@pytest.mark.parametrize("workers", [0, 2])
def test_orders_depend_on_seed_and_epoch(shards: Path, workers: int) -> None:
    def order(epoch: int, seed: int) -> list[list[list[str]]]:
        return train_keys(shards, 1, epoch, seed=seed, num_workers=workers)

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(1, 0)
    assert order(0, 0) != order(0, 1)


def test_over_the_epochs_every_sample_meets_every_rank(few: Path) -> None:
    """Also with a single shard: whose samples they are changes."""
    first: set[str] = set()
    for epoch in range(12):
        first |= set(itertools.chain(*train_keys(few, 2, epoch, val_fraction=0.0)[0]))
    assert len(first) == 43


@pytest.mark.parametrize("workers", [0, 2])
def test_loaders_leave_the_random_numbers_of_the_process_alone(few: Path, workers: int) -> None:
    data = fakes.at(fakes.module_of(few, augment=True, num_workers=workers))
    torch.manual_seed(1)
    random.seed(1)
    before, plain = torch.random.get_rng_state(), random.getstate()
    numpy_before = np.random.get_state()[1].copy()  # type: ignore[index]  # noqa: NPY002 - the global one is meant
    fakes.keys_of(data.train_dataloader())
    fakes.keys_of(data.val_dataloader())
    assert torch.equal(torch.random.get_rng_state(), before)
    assert random.getstate() == plain
    assert np.array_equal(np.random.get_state()[1], numpy_before)  # type: ignore[index]  # noqa: NPY002


def test_augmentation_depends_on_seed_epoch_and_row_alone(flower_shards: Path) -> None:
    def images(world: int = 1, workers: int = 0, epoch: int = 0, seed: int = 0) -> dict[int, torch.Tensor]:
        found: dict[int, torch.Tensor] = {}
        for rank in range(world):
            data = fakes.module_of(flower_shards, augment=True, num_workers=workers, batch_size=3, seed=seed)
            for batch in fakes.at(data, rank, world, epoch).train_dataloader():
                found.update(zip(batch["row"].tolist(), batch["image"], strict=True))
        return found

    def alike(one: dict[int, torch.Tensor], other: dict[int, torch.Tensor]) -> set[bool]:
        both = one.keys() & other.keys()
        assert len(both) > 10
        return {torch.equal(one[row], other[row]) for row in both}

    plain = images()
    assert alike(plain, images(world=2, workers=2)) == {True}
    assert False in alike(plain, images(epoch=1))
    assert False in alike(plain, images(seed=1))


def test_spawned_workers_can_read_every_set(few: Path) -> None:
    data = fakes.at(fakes.module_of(few, predict_root=few.parent / "set_test_images", num_workers=1), rank=1, world=2)
    loaders = (data.test_dataloader(), data.predict_dataloader(), data.train_dataloader())
    forked = [fakes.keys_of(loader) for loader in loaders]
    assert forked[1] == [[f"image_{number:03d}.png" for number in range(4, 8)]]
    before = torch.multiprocessing.get_start_method()
    torch.multiprocessing.set_start_method("spawn", force=True)
    try:
        loaders = (data.test_dataloader(), data.predict_dataloader(), data.train_dataloader())
        assert [fakes.keys_of(loader) for loader in loaders] == forked
    finally:
        torch.multiprocessing.set_start_method(before, force=True)


@pytest.mark.parametrize(("world", "workers"), list(itertools.product((*RANKS, 13), (0, 2))))
def test_every_image_is_predicted_once(few: Path, world: int, workers: int) -> None:
    data = fakes.module_of(few, predict_root=few.parent / "set_test_images", num_workers=workers, batch_size=2)
    keys, lengths = [], set()
    for rank in range(world):
        loader = fakes.at(data, rank, world).predict_dataloader()
        keys += list(itertools.chain(*fakes.keys_of(loader)))
        lengths.add(len(loader))
    assert sorted(keys) == [f"image_{number:03d}.png" for number in range(11)]
    assert len(lengths) == 1


def evaluate_with_spawned_workers(rank: int, shards: Path, images: Path) -> dict[str, list[list[str]]]:
    """Test and prediction in a rank of two, whose workers are spawned."""
    before = torch.multiprocessing.get_start_method()
    torch.multiprocessing.set_start_method("spawn", force=True)
    try:
        module = fakes.Recorder()
        trainer = pl.Trainer(devices=2, strategy="ddp", **fakes.QUIET)
        data = fakes.module_of(shards, predict_root=images, num_workers=1)
        trainer.test(module, datamodule=data, verbose=False)
        trainer.predict(module, datamodule=data, return_predictions=False)
    finally:
        torch.multiprocessing.set_start_method(before, force=True)
    return {name: module.seen[name] for name in ("test", "predict")}


def test_two_ranks_with_a_spawned_worker_each(few: Path, ranks: RankPool) -> None:
    images = few.parent / "set_test_images"
    first, second = ranks.run(evaluate_with_spawned_workers, few, images, timeout=280)
    for stage in ("test", "predict"):
        assert [len(batch) for batch in first[stage] + second[stage]] == [4, 3, 4]
        assert len(set(itertools.chain(*first[stage], *second[stage]))) == 11
