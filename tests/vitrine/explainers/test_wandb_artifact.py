"""Explainers that W&B keeps: their names, and what is told where they cannot be had."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import wandb
from torch import nn

import vitrine
from vitrine.backbones import FrozenBackbone
from vitrine.explainers import SRAEExplainer, SRAEOptions
from vitrine.explainers.wandb_artifact import explainer_folder


class FakeArtifact:
    """An artifact of which `download` fills the asked folder."""

    def __init__(self, path: str, kind: str, files: Path) -> None:
        self.entity, self.project, self.name, self.type = "me", "vitrine", path.rpartition("/")[2], kind
        self.files = files

    def download(self, root: str) -> str:
        Path(root).mkdir(parents=True)
        for file in self.files.iterdir():
            (Path(root) / file.name).write_bytes(file.read_bytes())
        return root


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What W&B is asked for; it has an explainer under every name but ``gone`` and ``weights``."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    SRAEExplainer(FrozenBackbone(model), SRAEOptions(layer="1", image_size=16)).save(tmp_path / "saved")
    paths: list[str] = []

    def artifact(path: str) -> Any:
        paths.append(path)
        if "gone" in path:
            raise wandb.errors.CommError("artifact not found")
        return FakeArtifact(path, "model" if "weights" in path else "explainer", tmp_path / "saved")

    monkeypatch.setattr(wandb, "Api", lambda: SimpleNamespace(artifact=artifact))
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_ARTIFACT_DIR", str(tmp_path / "cache"))
    return paths


def test_an_explainer_is_downloaded_and_loaded(asked: list[str], tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    torch.manual_seed(0)
    for layer in model:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.reset_parameters()
    loaded = vitrine.load("wandb:me/vitrine/srae-net-set:v3", backbone=model)
    assert isinstance(loaded, SRAEExplainer)
    assert asked == ["me/vitrine/srae-net-set:v3"]
    assert (tmp_path / "cache" / "me" / "vitrine" / "srae-net-set-v3" / "explainer.json").is_file()


@pytest.mark.parametrize(
    ("name", "path"), [("wandb:vitrine/a", "vitrine/a:latest"), ("wandb:vitrine/a:best", "vitrine/a:best")]
)
def test_version_and_entity_may_be_left_out(name: str, path: str, asked: list[str]) -> None:
    explainer_folder(name)
    assert asked == [path]


def test_what_cannot_be_had_is_told(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"wandb:only-a-name.*ENTITY/PROJECT/NAME:VERSION"):
        explainer_folder("wandb:only-a-name")
    with pytest.raises(ConnectionError, match=r"gone.*not found.*network.*WANDB_MODE=online"):
        explainer_folder("wandb:me/vitrine/gone")
    with pytest.raises(ValueError, match=r"weights.*type 'model'"):
        explainer_folder("wandb:me/vitrine/weights")
    monkeypatch.setenv("WANDB_MODE", "offline")
    with pytest.raises(ConnectionError, match=r"WANDB_MODE is offline.*WANDB_MODE=online"):
        vitrine.load("wandb:me/vitrine/srae-net-set")


def test_without_wandb_its_installation_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'vitrine\[wandb\]'"):
        explainer_folder("wandb:me/vitrine/srae")
