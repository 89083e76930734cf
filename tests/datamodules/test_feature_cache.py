"""The feature cache: computed once, by one process or two, and read back as it was streamed."""

import itertools
import json
from pathlib import Path
from threading import Event, Thread, Timer
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from tests.helpers import shard_fakes as fakes
from tests.helpers.ranks import RankPool
from tests.helpers.store_fakes import flip_byte
from vitrine.core.locks import file_lock
from vitrine.data.feature_store.manifest import read_manifest
from vitrine.data.preprocessing import Preprocessing


@pytest.mark.parametrize("workers", [0, 2])
def test_features_are_computed_once(few: Path, tmp_path: Path, workers: int) -> None:
    extractor = fakes.MeanColour()
    data = fakes.module_of(few, folder=tmp_path, num_workers=workers)
    module = fakes.fit_once(data, extractor)
    assert extractor.images == 43 + 1  # one image tells their width
    fakes.fit_once(fakes.module_of(few, folder=tmp_path), extractor)
    assert extractor.images == 44
    train, val = (set(itertools.chain(*module.seen[name])) for name in ("train", "val"))
    assert len(train) == 39
    assert len(val) == 4
    assert not train & val


def test_augmented_or_unwanted_features_are_not_kept(few: Path, tmp_path: Path) -> None:
    extractor = fakes.MeanColour()
    fakes.fit_once(fakes.module_of(few, folder=tmp_path, augment=True), extractor)
    fakes.fit_once(fakes.module_of(few, folder=tmp_path, cache=False), extractor)
    assert extractor.images == 0
    assert not list(tmp_path.iterdir())


def test_other_weights_images_or_preprocessing_make_other_stores(few: Path, many: Path, tmp_path: Path) -> None:
    data = fakes.module_of(few, folder=tmp_path)
    fakes.fit_once(data, fakes.MeanColour())
    fakes.fit_once(data, fakes.MeanColour("other weights"))
    assert len(fakes.stores_of(data)) == 2
    fakes.fit_once(fakes.module_of(few, folder=tmp_path, preprocessing=Preprocessing(8, None)), fakes.MeanColour())
    assert len(fakes.stores_of(data)) == 3
    fakes.fit_once(fakes.module_of(many, folder=tmp_path), fakes.MeanColour())
    assert len(fakes.stores_of(data)) == 4


@pytest.mark.parametrize("workers", [0, 2])
def test_an_interrupted_pass_computes_the_rest_only(few: Path, tmp_path: Path, workers: int) -> None:
    data = fakes.module_of(few, folder=tmp_path / "cut", num_workers=workers)
    with fakes.small_chunks(), pytest.raises(RuntimeError, match="killed"):
        fakes.fit_once(data, fakes.MeanColour(limit=1 + 5 * 4))
    (folder,) = fakes.stores_of(data)
    assert len(contents(folder)) == 2  # of eight samples each
    extractor = fakes.MeanColour()
    fakes.fit_once(fakes.module_of(few, folder=tmp_path / "cut"), extractor)
    assert extractor.images == 43 - 16
    whole = fakes.module_of(few, folder=tmp_path / "whole")
    with fakes.small_chunks():
        fakes.fit_once(whole, fakes.MeanColour())
    assert len(contents(folder)) == 6
    assert contents(folder) == contents(fakes.stores_of(whole)[0])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("chunk-*")}


def test_damaged_chunks_are_computed_again(few: Path, tmp_path: Path) -> None:
    data = fakes.module_of(few, folder=tmp_path)
    with fakes.small_chunks():
        fakes.fit_once(data, fakes.MeanColour())
    (folder,) = fakes.stores_of(data)
    before = contents(folder)
    flip_byte(folder / "chunk-000003.safetensors")
    extractor = fakes.MeanColour()
    with pytest.warns(UserWarning, match=r"1 damaged chunks .* chunk-000003"):
        fakes.fit_once(data, extractor)
    assert extractor.images == 8
    assert contents(folder) == before


def test_a_tar_that_was_replaced_under_its_index_is_no_hit(tmp_path: Path) -> None:
    shards = fakes.write_split(tmp_path / "set", "train", 9)
    extractor, data = fakes.MeanColour(), fakes.module_of(shards, folder=tmp_path / "features")
    fakes.fit_once(data, extractor)
    (tar,) = (shards / "train").glob("*.tar")
    content = bytearray(tar.read_bytes())
    content[-1] ^= 1
    tar.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{tar} is not .*vitrine\.shards verify {tar.parent}"):
        fakes.fit_once(fakes.module_of(shards, folder=tmp_path / "features"), extractor)
    with pytest.raises(ValueError, match=f"{tar} is not"):
        fakes.fit_once(fakes.module_of(shards, folder=tmp_path / "elsewhere"), extractor)
    assert extractor.images == 9 + 1


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_types_of_features_have_stores_of_their_own(few: Path, tmp_path: Path, dtype: str) -> None:
    fakes.fit_once(fakes.module_of(few, folder=tmp_path), fakes.MeanColour())
    data, module = fakes.module_of(few, folder=tmp_path, dtype=dtype), fakes.Recorder(fakes.MeanColour())
    pl.Trainer(max_epochs=1, **fakes.QUIET).fit(module, datamodule=data)
    assert sorted(read_manifest(folder).dtype for folder in fakes.stores_of(data)) == sorted([dtype, "float32"])
    assert next(iter(data.train_dataloader()))["features"].dtype == torch.float32


def test_a_run_waits_for_another_that_computes_the_same(
    few: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two threads stand for two runs: the lock does not tell them apart from two processes."""
    data, extractor = fakes.module_of(few, folder=tmp_path), fakes.MeanColour()
    data.setup("fit")
    store, taken, freed = data._cache.store(data.split("train"), extractor), Event(), Event()

    def first_run() -> None:
        with file_lock(store.lock, "computes features of train"):
            taken.set()
            freed.wait(30)
            store.create(3, 3, ())
            rows = store.batches_of([0], 4)
            store.fill([0], data._images_at(data.split("train"), rows), fakes.MeanColour(), torch.device("cpu"))

    other = Thread(target=first_run)
    other.start()
    assert taken.wait(30)
    Timer(0.5, freed.set).start()
    with caplog.at_level("INFO", "pytorch_lightning"):
        fakes.fit_once(data, extractor)
    other.join()
    assert "Waiting for process" in caplog.text
    assert "computes features of train" in caplog.text
    assert extractor.images == 0


@pytest.mark.parametrize("multi_label", [False, True])
def test_kept_features_are_those_of_the_streamed_images(tmp_path: Path, *, multi_label: bool) -> None:
    shards = fakes.write_split(tmp_path / "set", "train", 20, 6, multi_label=multi_label)
    shards = fakes.write_split(shards, "val", 7, multi_label=multi_label)
    data = fakes.module_of(shards, val_fraction=0.0)
    extractor = fakes.MeanColour()
    fakes.fit_once(data, extractor)
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
    one, two = (sorted(path.parent for path in folder.glob("features/*/manifest.json")) for folder in two_runs)
    assert [folder.name for folder in one] == [folder.name for folder in two]
    for folder, other in zip(one, two, strict=True):
        assert len(contents(folder)) > 2
        assert contents(folder) == contents(other)


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
