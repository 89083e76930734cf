"""Counts of damaged samples that were left out, over ranks, in metrics and beside predictions."""

import json
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from callbacks.run_folder import MetricsFile
from callbacks.skipped_samples import SkippedSamples
from tests.datamodules.test_damaged import damage
from tests.helpers import shard_fakes as fakes
from tests.helpers.ranks import RankPool

pytestmark = pytest.mark.filterwarnings("ignore:Left out")


class Recorder(fakes.Recorder):
    """Takes empty batches too."""

    def training_step(self, batch: Any) -> Any:
        return super().training_step(batch) if batch["key"] else 0 * self.head(torch.zeros(1, 3)).sum()


@pytest.fixture
def torn(tmp_path: Path) -> Path:
    """Two of 9 training images, one of 4 validation images, three of 8 test images and one of 4 to predict are torn."""
    shards = tmp_path / "set"
    for split, count, numbers in (("train", 9, {0, 1}), ("val", 4, {2}), ("test", 8, {0, 1, 5})):
        fakes.write_split(shards, split, count)
        damage(shards / split / "shard-000000.tar", numbers)
    fakes.write_images(tmp_path / "images", 4)[1].write_bytes(b"torn")
    return shards


def trainer(folder: Path, **options: Any) -> pl.Trainer:
    callbacks = [MetricsFile(), SkippedSamples()]
    return pl.Trainer(max_epochs=2, callbacks=callbacks, default_root_dir=folder, **fakes.QUIET, **options)


def run(folder: Path, shards: Path, on_error: str = "skip", **options: Any) -> pl.Trainer:
    images = shards.parent / "images"
    data = fakes.module_of(shards, on_error=on_error, batch_size=2, cache=False, predict_root=images)
    of_run, module = trainer(folder, **options), Recorder()
    of_run.fit(module, datamodule=data)
    fitted = dict(of_run.callback_metrics)
    of_run.test(module, datamodule=data, verbose=False)
    of_run.predict(module, datamodule=data, return_predictions=False)
    assert {name: float(value) for name, value in fitted.items()} == {
        "train/skipped_samples": 2,
        "val/skipped_samples": 1,
    }
    return of_run


def check(folder: Path) -> None:
    assert json.loads((folder / "metrics.json").read_text())["test/skipped_samples"] == 3
    assert json.loads((folder / "skipped_samples.json").read_text()) == {
        "predict/skipped_samples": 1,
        "names": ["image_001.png"],
    }


def test_counts_are_in_the_log_in_metrics_and_beside_predictions(torn: Path, tmp_path: Path) -> None:
    with pytest.warns(
        UserWarning, match=r"3 damaged samples were left out \(test\): sample 0 of .*shard-000000\.tar, "
    ):
        run(tmp_path / "run", torn)
    check(tmp_path / "run")


def on_two_ranks(rank: int, folder: Path, shards: Path) -> None:
    run(folder, shards, devices=2, strategy="ddp")


def test_counts_are_those_of_all_ranks(torn: Path, tmp_path: Path, ranks: RankPool) -> None:
    ranks.run(on_two_ranks, tmp_path / "run", torn, folder=tmp_path)
    check(tmp_path / "run")


def test_nothing_is_logged_where_a_damaged_sample_stops_the_run(tmp_path: Path) -> None:
    of_run, shards = trainer(tmp_path), fakes.write_split(tmp_path / "set", "test", 3)
    of_run.test(Recorder(), datamodule=fakes.module_of(shards), verbose=False)
    assert of_run.callback_metrics == {}
