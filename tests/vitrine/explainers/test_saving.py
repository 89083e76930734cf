"""Saving of explainers: as a whole, with or without the backbone, beside pages of people."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import vitrine
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.explainers import SRAEExplainer


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
