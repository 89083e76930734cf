"""One run at a time in a folder, and what a fit finds and removes there."""

import json
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl

from callbacks import predictions, run_start
from callbacks.run_start import LOCK, checkpoint_of_fit, folder_lock, remove_run, restoring_told
from tests.helpers.commands import QUICKSTART, SMALL, SMALL_SRAE, refusal
from tests.helpers.line_fit import trainer
from vitrine.core import locks
from vitrine.core.atomic_io import atomic_folder
from vitrine.core.folder_manifest import MANIFEST
from vitrine.core.locks import LockHeldError, file_lock
from vitrine.visualization.report.gallery import GALLERY


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_a_second_run_says_who_is_at_work(command: str, workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = workplace / "runs" / "quickstart"
    with file_lock(folder / LOCK, "fit in runs/quickstart"):
        told = refusal(capsys, command, *QUICKSTART[1:], *SMALL, *SMALL_SRAE)
    assert f"in use by process {os.getpid()} on {socket.gethostname()} (fit in runs/quickstart, for 0 min)" in told
    assert list(folder.iterdir()) == []


def test_a_lock_is_not_taken_by_ranks_that_do_not_hold_it(tmp_path: Path) -> None:
    with folder_lock(tmp_path, "fit", held=True), folder_lock(tmp_path, "fit", held=False):
        assert (tmp_path / LOCK).exists()
    assert not (tmp_path / LOCK).exists()


def _foreign_lock(folder: Path) -> None:
    owner = {"purpose": "fit", "host": "elsewhere", "pid": 1, "since": time.time(), "nonce": "t"}
    (folder / LOCK).write_text(json.dumps(owner))


def test_the_lock_of_a_process_that_died_elsewhere_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (run_start, locks):
        monkeypatch.setattr(module, "STALE_SECONDS", 2.0)
    monkeypatch.setattr(run_start, "BEAT_SECONDS", 1.0)
    _foreign_lock(tmp_path)
    with folder_lock(tmp_path, "fit", held=True):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()


def test_a_lock_that_is_renewed_elsewhere_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_start, "BEAT_SECONDS", 5.0)
    _foreign_lock(tmp_path)
    timer = threading.Timer(0.5, lambda: os.utime(tmp_path / LOCK))
    timer.start()
    with pytest.raises(LockHeldError, match="on elsewhere"), folder_lock(tmp_path, "fit", held=True):
        pass
    timer.join()


def test_only_what_a_run_writes_is_removed(tmp_path: Path) -> None:
    ours = ["checkpoints/last.ckpt", "checkpoints/epoch=1-step=2.ckpt", "hpc_ckpt_1.ckpt", "config-fit.yaml"]
    ours += ["metrics.json", "panels/epoch-0001-step-000002.png", "masked/examples.png"]
    others = ["notes.txt", "explainer/names.yaml", "logs/version_0/metrics.csv", "mine/report.html", "config-mine.yaml"]
    others += ["metrics-mine.json", "checkpoints/kept.ckpt", "panels/mine.png", "x_features/index.html"]
    others += ["report/thesis.tex", "average_images/average_images.json"]
    elsewhere = tmp_path / "elsewhere" / "predictions"
    (tmp_path / "predictions").symlink_to(elsewhere)
    for name, kind in (("report", GALLERY), ("predictions", predictions.KIND)):
        with atomic_folder(tmp_path / name, kind) as staging:
            (staging / kind.marker).write_text("ours")
            (staging / "images").mkdir()
    for name in [*ours, *others]:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text("x")
    remove_run(tmp_path)
    assert (tmp_path / "predictions").is_symlink()
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == {
        *others,
        f"report/{MANIFEST}",
    }


def test_what_a_comparison_writes_is_removed(tmp_path: Path) -> None:
    ours = [f"compare{end}" for end in (".csv", ".md", ".html", "_differences.csv", "_images.jpg")]
    files = ["metrics.json", "evaluation.json", "per_image.csv", "examples.safetensors", "masked/examples.png"]
    ours += [f"explainers/{name}/{file}" for name in ("Grad CAM", "kept") for file in files]
    others = ["explainers/kept/notes.txt", "compare-mine.csv", "elsewhere/metrics.json"]
    for name in [*ours, *others]:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text("x")
    with atomic_folder(tmp_path / "explainers" / "Grad CAM" / "report", GALLERY) as staging:
        (staging / GALLERY.marker).write_text("ours")
    (tmp_path / "explainers" / "linked").symlink_to(tmp_path / "elsewhere")
    remove_run(tmp_path)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left - {"explainers/linked/metrics.json"} == set(others)
    assert not (tmp_path / "explainers" / "Grad CAM").exists()


@pytest.mark.parametrize("name", ["config-fit.yaml", "explainer", "classifier.safetensors", "hpc_ckpt_3.ckpt"])
def test_a_folder_with_any_part_of_a_run_holds_one(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    with pytest.raises(FileExistsError, match=f"holds a run \\({name}\\).*--ckpt_path auto.*--overwrite true"):
        checkpoint_of_fit(tmp_path, None, overwrite=False, is_first=True)
    assert checkpoint_of_fit(tmp_path, None, overwrite=False, is_first=False) is None


def test_auto_begins_again_what_was_killed_before_its_first_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "config-fit.yaml").touch()
    assert checkpoint_of_fit(tmp_path, "auto", overwrite=False, is_first=True) is None
    (tmp_path / "explainer").mkdir()
    with pytest.raises(FileExistsError, match=r"holds a run \(explainer\)"):
        checkpoint_of_fit(tmp_path, "auto", overwrite=False, is_first=True)


def restore(trainer: pl.Trainer, checkpoint: dict[str, Any]) -> None:
    """As Lightning does it, of a checkpoint that it has read."""
    trainer._checkpoint_connector._loaded_checkpoint = checkpoint
    with restoring_told(trainer):
        trainer._checkpoint_connector.restore_optimizers_and_schedulers()


def test_what_goes_wrong_while_restoring_names_the_checkpoint(tmp_path: Path) -> None:
    resumed = trainer(tmp_path)
    resumed.ckpt_path = "mine.ckpt"
    with pytest.raises(ValueError, match=r"--ckpt_path mine\.ckpt does not go with this run \(KeyError: "):
        restore(resumed, {"a": 1})
    with pytest.raises(KeyError, match="elsewhere"), restoring_told(resumed):
        raise KeyError("elsewhere")
