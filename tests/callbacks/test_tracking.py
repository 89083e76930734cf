"""Trackers: the CSV beside each logger, the W&B run of a run's folder, pages with their pictures, TensorBoard's values."""

import base64
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

from callbacks import loggers
from callbacks.csv_log import RunCSVLogger
from callbacks.loggers import page_with_pictures
from callbacks.run_name import RunName
from callbacks.tracking import WANDB_RUN, Tracking, folder_of_sweep, prepare_wandb, with_csv
from vitrine.core.explanation import Explanation
from vitrine.visualization.report.entry import GalleryEntry
from vitrine.visualization.report.gallery import write_gallery

NAME = RunName("srae", "resnet18", "cub")


def test_the_csv_stands_beside_other_loggers(tmp_path: Path) -> None:
    board, own = TensorBoardLogger(tmp_path), CSVLogger(tmp_path)
    for given, kinds in (
        (None, [RunCSVLogger]),
        (True, [RunCSVLogger]),
        (board, [TensorBoardLogger, RunCSVLogger]),
        ([board, own], [TensorBoardLogger, CSVLogger]),
    ):
        found = with_csv(given, str(tmp_path), "fit")
        assert isinstance(found, list)
        assert [type(one) for one in found] == kinds
    assert with_csv(False, str(tmp_path), "fit") is False  # noqa: FBT003


def prepared(folder: Path, **options: Any) -> dict[str, Any]:
    """What W&B is started with in a run's folder."""
    logger = WandbLogger(save_dir=folder, project="vitrine", **options)
    prepare_wandb(SimpleNamespace(loggers=[logger], default_root_dir=str(folder)), NAME)  # type: ignore[arg-type]
    return logger._wandb_init


@pytest.mark.parametrize(("mode", "resume"), [("online", "allow"), ("offline", None)])
def test_a_run_is_named_and_goes_on_with_that_of_its_folder(
    mode: str, resume: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", mode)
    monkeypatch.setenv("WANDB_SILENT", "true")
    options = prepared(tmp_path)
    assert (options["name"], options["tags"], options["id"]) == ("srae-resnet18-cub", [*NAME], None)
    assert options["resume"] == resume
    (tmp_path / WANDB_RUN).write_text(json.dumps({"id": "abc", "project": "vitrine", "name": "x"}))
    assert prepared(tmp_path)["id"] == "abc"
    assert prepared(tmp_path, name="mine", tags=["a"], id="own")["name"] == "mine"
    assert prepared(tmp_path, id="own")["id"] == "own"
    (tmp_path / WANDB_RUN).write_text(json.dumps({"id": "abc", "project": "another", "name": "x"}))
    assert prepared(tmp_path)["id"] is None


def test_a_run_of_a_sweep_has_the_agents_id_and_a_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "r1")
    assert folder_of_sweep("runs/a") == "runs/a"
    monkeypatch.setenv("WANDB_SWEEP_ID", "s1")
    assert folder_of_sweep("runs/a") == "runs/a/r1"
    assert folder_of_sweep("runs/a/r1") == "runs/a/r1"
    (tmp_path / WANDB_RUN).write_text(json.dumps({"id": "abc", "project": "vitrine", "name": "x"}))
    assert prepared(tmp_path)["id"] is None


def test_a_page_is_sent_with_its_pictures_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (2, 2)).save(tmp_path / "images" / "a b.png")
    page = tmp_path / "index.html"
    page.write_text('<img src="images/a%20b.png"><img src="gone.png"><script src="https://x/y.js"></script>')
    text = page_with_pictures(page)
    assert text is not None
    data = base64.b64encode((tmp_path / "images" / "a b.png").read_bytes()).decode()
    assert f'src="data:image/png;base64,{data}"' in text
    assert 'src="gone.png"' in text
    assert 'src="https://x/y.js"' in text
    monkeypatch.setattr(loggers, "LARGEST_PAGE", 1)
    assert page_with_pictures(page) is None


def test_a_gallery_is_sent_with_its_cards_and_pictures(tmp_path: Path) -> None:
    zero = torch.zeros(1, dtype=torch.int64)
    shown = Explanation(torch.rand(1, 1, 8, 8), torch.ones(1, 1), [["a"]], zero, zero, torch.zeros(1, 2))
    entry = GalleryEntry("one", torch.rand(3, 8, 8), (0,), shown)
    page = write_gallery(tmp_path / "report", [entry], title="t", metrics={}, class_names=["ant", "bee"])
    text = page_with_pictures(page)
    assert text is not None
    assert "globalThis.galleryCards" in text
    assert '"images/' not in text
    assert text.count("data:image/webp;base64,") == len(list((tmp_path / "report" / "images").iterdir()))


def test_tensorboard_gets_the_runs_values_with_its_figures(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, name="tensorboard", version="", default_hp_metric=False)
    logger.log_hyperparams({"model": {"beta": 0.5}})
    trainer: Any = SimpleNamespace(
        loggers=[logger], callback_metrics={"test/iou": 12.5}, global_step=7, is_global_zero=True,
        default_root_dir=str(tmp_path), fast_dev_run=False,
    )  # fmt: skip
    Tracking().on_test_end(trainer, None)  # type: ignore[arg-type]
    logger.finalize("success")
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert not events.Tags()["scalars"]  # which the trainer has logged
    values = events.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    assert b"model/beta" in values
