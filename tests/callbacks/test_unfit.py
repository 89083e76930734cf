"""Callbacks that look at some explainers alone, in runs of others."""

from pathlib import Path

import pytest

from callbacks import ContactSheets, FilterAblation, ReportGallery
from callbacks.unfit import leave_out_unfit
from tests.helpers import explaining_fakes as fakes
from tests.helpers.commands import FEW_STEPS, SMALL, SMALL_IMAGES, SMALL_SRAE, run


def test_what_fits_no_explainer_is_left_out_with_a_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trainer = fakes.trainer(tmp_path, ContactSheets(), ReportGallery(), FilterAblation())
    with caplog.at_level("INFO"):
        leave_out_unfit(trainer, fakes.module())
    kinds = {type(one) for one in trainer.callbacks}  # type: ignore[attr-defined]
    assert ReportGallery in kinds
    assert not kinds & {ContactSheets, FilterAblation}
    told = [record.message for record in caplog.records if "left out" in record.message]
    assert len(told) == 2
    assert told[0].startswith("ContactSheets is left out: it needs an explainer with the same heatmaps")


def test_the_configuration_of_one_explainer_serves_others(
    weights: Path, class_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The folder of a fitted SRAE, tested and applied with an inversion mask: its checkpoint is not the mask's."""
    config = ["-c", "configs/folder_srae.yaml", *SMALL, *SMALL_IMAGES]
    run("fit", *config, *SMALL_SRAE)
    backbone = "{name: resnet18, weights: runs/folder_classifier/classifier.safetensors}"
    mask = ["--model", "configs/model/inversion.yaml", "--model.init_args.backbone", backbone, *FEW_STEPS]
    cli = run("test", *config, *mask)
    assert cli.trainer.ckpt_path is None
    assert (weights / "runs" / "folder_srae" / "report" / "index.html").is_file()
    assert not (weights / "runs" / "folder_srae" / "x_features").exists()
    run("test", *config, *SMALL_SRAE)
    assert (weights / "runs" / "folder_srae" / "x_features" / "index.html").is_file()


def test_a_comparison_has_what_fits_any_of_its_explainers(weights: Path) -> None:
    config = ["-c", "configs/folder_srae.yaml", *SMALL, *SMALL_IMAGES]
    run("fit", *config, *SMALL_SRAE)
    backbone = "{name: resnet18, weights: runs/folder_classifier/classifier.safetensors}"
    explainers = "{cam: {method: GradCAM}, srae: {folder: runs/folder_srae/explainer}}"
    several = ["--model", "ComparisonModule", "--model.init_args.backbone", backbone]
    run("test", *config, *several, "--model.init_args.explainers", explainers, "--trainer.default_root_dir=runs/both")
    assert (weights / "runs" / "both" / "explainers" / "srae" / "x_features" / "index.html").is_file()
    assert not (weights / "runs" / "both" / "explainers" / "cam" / "x_features").exists()
