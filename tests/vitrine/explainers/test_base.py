"""An explainer's folder: whole or not there, readable without Lightning and W&B, and only with the right backbone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

import vitrine
from vitrine.explainers import SRAEExplainer


def test_round_trip(named_explainer: SRAEExplainer, pictures: Tensor, tmp_path: Path) -> None:
    named_explainer.save(tmp_path / "explainer", metadata={"epochs": 3})
    loaded = vitrine.load(tmp_path / "explainer")
    torch.testing.assert_close(loaded.explain(pictures).heatmaps, named_explainer.explain(pictures).heatmaps)
    assert loaded.classes == ["ant", "bee", "cat"]
    assert loaded.preprocessing == named_explainer.preprocessing
    assert loaded.attribute(pictures, target=1).shape == (2, 1, 48, 48)
    config = json.loads((tmp_path / "explainer" / "explainer.json").read_text())
    assert config["weight_digest"] == named_explainer.backbone.digest
    assert config["backbone"]["name"] == "squeezenet1_1"
    assert config["metadata"] == {"epochs": 3}


def test_saving_again_replaces_what_was_saved_and_keeps_other_files(
    named_explainer: SRAEExplainer, tmp_path: Path
) -> None:
    named_explainer.save(tmp_path / "explainer")
    (tmp_path / "explainer" / "notes.txt").touch()
    named_explainer.save(tmp_path / "explainer", bundle_backbone=False)
    assert sorted(path.name for path in (tmp_path / "explainer").iterdir()) == [
        ".vitrine-files.json",
        "README.md",
        "explainer.json",
        "explainer.safetensors",
        "names.yaml",
        "notes.txt",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["explainer"]
    (tmp_path / "explainer" / "explainer.json").write_text("{}")
    for action in (named_explainer.save, named_explainer.check_saveable):
        with pytest.raises(FileExistsError, match=r"explainer/explainer\.json was changed"):
            action(tmp_path / "explainer")


def test_wrong_folders(named_explainer: SRAEExplainer, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"explainer\.json does not exist"):
        vitrine.load(tmp_path / "nowhere")
    named_explainer.save(tmp_path / "explainer")
    config = tmp_path / "explainer" / "explainer.json"
    text = config.read_text()
    config.write_text("{")
    with pytest.raises(ValueError, match=r"explainer\.json is not valid JSON"):
        vitrine.load(tmp_path / "explainer")
    config.write_text(text.replace('"format_version": 1', '"format_version": 99'))
    with pytest.raises(ValueError, match="format version 99"):
        vitrine.load(tmp_path / "explainer")
    config.write_text(text.replace("SRAEExplainer", "OtherExplainer"))
    with pytest.raises(ValueError, match=r"'vitrine\.explainers\.srae\.explainer:OtherExplainer'"):
        vitrine.load(tmp_path / "explainer")
    config.write_text(text.replace('"num_features": 3', '"num_features": 4'))
    with pytest.raises(ValueError, match="saved heads do not fit"):
        vitrine.load(tmp_path / "explainer")


def test_needs_no_training_library(named_explainer: SRAEExplainer, tmp_path: Path) -> None:
    """In a process where importing Lightning, W&B or a training folder fails."""
    named_explainer.save(tmp_path / "explainer")
    script = f"""
import sys
for name in ("pytorch_lightning", "lightning", "wandb", "lightning_modules", "datamodules", "callbacks", "jsonargparse"):
    sys.modules[name] = None
import torch, vitrine
explainer = vitrine.load({str(tmp_path / "explainer")!r})
images = torch.rand(1, 3, 48, 48)
explanation = explainer.explain(images)
assert explanation.heatmaps.shape == (1, 3, 48, 48)
assert explainer.attribute(images, 2).shape == (1, 1, 48, 48)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
