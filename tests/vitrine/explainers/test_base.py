"""An explainer's folder: whole or not there, readable without Lightning and W&B, and only with the right backbone."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import vitrine
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.data.preprocessing import Preprocessing
from vitrine.explainers import SRAEExplainer
from vitrine.explainers.srae.explainer import SRAEOptions


@pytest.fixture
def named_explainer() -> SRAEExplainer:
    """On a network that can be built again by its name."""
    torch.manual_seed(0)
    backbone = FrozenBackbone("squeezenet1_1", num_classes=3)
    preprocessing = Preprocessing(size=48, resize=None)
    options = SRAEOptions("features.12", explained_classes=[1, 2], num_features=3, hidden=(8,), image_size=48)
    return SRAEExplainer(backbone, options, ["ant", "bee", "cat"], preprocessing)


@pytest.fixture
def pictures() -> Tensor:
    return torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))


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


def test_a_page_of_ones_own_stays(named_explainer: SRAEExplainer, tmp_path: Path) -> None:
    named_explainer.save(tmp_path / "explainer")
    card = tmp_path / "explainer" / "README.md"
    assert card.read_text(encoding="utf-8").startswith("# SRAEExplainer of ")
    card.unlink()
    named_explainer.save(tmp_path / "explainer")
    assert card.is_file()
    manifest = tmp_path / "explainer" / ".vitrine-files.json"
    entries = json.loads(manifest.read_text(encoding="utf-8"))
    del entries["files"]["README.md"]  # as of a release that wrote none
    manifest.write_text(json.dumps(entries), encoding="utf-8")
    card.write_text("Mine.", encoding="utf-8")
    named_explainer.save(tmp_path / "explainer")
    assert card.read_text(encoding="utf-8") == "Mine."


def test_a_failure_while_saving_leaves_the_old_one(
    named_explainer: SRAEExplainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named_explainer.save(tmp_path / "explainer")
    before = (tmp_path / "explainer" / "explainer.json").read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("vitrine.explainers.saving.save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        named_explainer.save(tmp_path / "explainer", metadata={"new": 1})
    assert (tmp_path / "explainer" / "explainer.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["explainer"]


def test_without_the_bundle_the_backbone_is_given(
    explainer: SRAEExplainer, network: nn.Module, images: Tensor, tmp_path: Path
) -> None:
    explainer.save(tmp_path / "explainer", bundle_backbone=False)
    loaded = vitrine.load(tmp_path / "explainer", backbone=network)
    torch.testing.assert_close(loaded.explain(images).heatmaps, explainer.explain(images).heatmaps)
    other = type(network)()
    other_digest = FrozenBackbone(other).digest
    with pytest.raises(ValueError, match=f"{explainer.backbone.digest}.*{other_digest}"):
        vitrine.load(tmp_path / "explainer", backbone=other)


def test_weights_that_moved(named_explainer: SRAEExplainer, pictures: Tensor, tmp_path: Path) -> None:
    torch.save(named_explainer.backbone.model.state_dict(), tmp_path / "weights.pth")
    named_explainer.backbone.options = replace(named_explainer.backbone.options, weights=str(tmp_path / "weights.pth"))
    named_explainer.save(tmp_path / "explainer", bundle_backbone=False)
    moved = (tmp_path / "weights.pth").rename(tmp_path / "moved.pth")
    with pytest.raises(FileNotFoundError, match=r"weights\.pth.*backbone=FILE"):
        vitrine.load(tmp_path / "explainer")
    loaded = vitrine.load(tmp_path / "explainer", backbone=moved)
    torch.testing.assert_close(loaded.explain(pictures).scores, named_explainer.explain(pictures).scores)


def test_public_weights_are_not_bundled(named_explainer: SRAEExplainer, tmp_path: Path) -> None:
    named_explainer.backbone.options = replace(named_explainer.backbone.options, weights="IMAGENET1K_V1")
    named_explainer.save(tmp_path / "explainer")
    assert not (tmp_path / "explainer" / "backbone.safetensors").exists()


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
