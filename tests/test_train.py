"""The command line: runs from fit to predict, and their folders, checkpoints and repetitions."""

import json
from pathlib import Path

import torch
import yaml

import vitrine
from tests.helpers.commands import (
    SMALL,
    SMALL_SRAE,
    fit_quickstart,
    run,
)


def test_a_run_from_fit_to_predict(workplace: Path, class_folder: Path) -> None:
    """What the README's table of a run's folder promises."""
    fit_quickstart()
    folder = workplace / "runs" / "quickstart"
    config = ["-c", "configs/quickstart.yaml", *SMALL, *SMALL_SRAE]
    run("validate", *config)
    run("test", *config)
    run("predict", *config, "--data.init_args.predict_root", str(class_folder / "test"))
    metrics = json.loads((folder / "metrics.json").read_text())
    promised = {"f_reg", "f_cls", "energy_in_mask", "iou", "energy_in_boxes", "pointing_game"}
    assert {f"test/{name}" for name in promised} <= set(metrics)
    assert (folder / "report" / "index.html").is_file()
    assert (folder / "x_features" / "index.html").is_file()
    assert {path.name for path in (folder / "explainer").iterdir()} >= {"explainer.json", "explainer.safetensors"}
    assert vitrine.load(folder / "explainer").classes
    assert len((folder / "predictions" / "predictions.csv").read_text().splitlines()) == 1 + 4
    pictures = list((folder / "predictions").rglob("*_x-feature-*.png"))
    assert len(pictures) == 4 * 2
    for stage in ("fit", "validate", "test", "predict"):
        assert yaml.safe_load((folder / f"config-{stage}.yaml").read_text())["model"]["class_path"]


def test_predicting_needs_no_shards(workplace: Path, class_folder: Path) -> None:
    """Where only the run's folder and some pictures are at hand."""
    fit_quickstart()
    (workplace / "data" / "an8flower-small").unlink()
    config = ["-c", "configs/quickstart.yaml", *SMALL, *SMALL_SRAE]
    run("predict", *config, "--data.init_args.predict_root", str(class_folder / "test"))
    rows = (workplace / "runs" / "quickstart" / "predictions" / "predictions.csv").read_text().splitlines()[1:]
    known = set(vitrine.load(workplace / "runs" / "quickstart" / "explainer").classes)
    assert {row.split(",")[2] for row in rows} <= known


def test_a_second_run_in_the_same_folder_works(workplace: Path) -> None:
    fit_quickstart()
    fit_quickstart("--model.init_args.training.beta", "0.5")
    saved = yaml.safe_load((workplace / "runs" / "quickstart" / "config-fit.yaml").read_text())
    assert saved["model"]["init_args"]["training"]["beta"] == 0.5


def test_a_saved_config_repeats_the_run(workplace: Path) -> None:
    first = fit_quickstart()
    again = run("fit", "-c", "runs/quickstart/config-fit.yaml")
    for one, two in zip(first.model.explainer.parameters(), again.model.explainer.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_checkpoint_does_not_override_the_command_line(workplace: Path) -> None:
    fit_quickstart()
    checkpoint = "runs/quickstart/checkpoints/last.ckpt"
    cli = fit_quickstart(
        "--ckpt_path", checkpoint, "--trainer.max_epochs", "3", "--model.init_args.training.beta", "0.75"
    )
    assert cli.model.train_options.beta == 0.75
    assert cli.trainer.current_epoch == 3


def test_a_resumed_run_equals_one_that_was_never_stopped(workplace: Path) -> None:
    whole = fit_quickstart("--trainer.max_epochs", "4", "--model.init_args.lr_scheduler", "null")
    fit_quickstart("--trainer.max_epochs", "2", "--model.init_args.lr_scheduler", "null")
    resumed = fit_quickstart(
        "--trainer.max_epochs", "4", "--model.init_args.lr_scheduler", "null",
        "--ckpt_path", "runs/quickstart/checkpoints/last.ckpt",
    )  # fmt: skip
    for one, two in zip(whole.model.explainer.parameters(), resumed.model.explainer.parameters(), strict=True):
        assert torch.equal(one, two)
