"""Releases: folders with a card made of tested runs, and the explainer that comes with the package."""

import json
from pathlib import Path

import pytest
import torch

import vitrine
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.explainers import SRAEExplainer, SRAEOptions
from vitrine.explainers.release import main
from vitrine.explainers.saving import BACKBONE_NAME, CONFIG_NAME

PACKAGE = Path(vitrine.__file__).parent
FLOWER = "vitrine.data.an8flower.network:FlowerNet"
WEIGHTS = "vitrine/data/an8flower/flower_net.safetensors"


@pytest.fixture
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that was tested, in a folder far from the package."""
    monkeypatch.chdir(tmp_path)
    explainer = SRAEExplainer(FrozenBackbone(FLOWER, WEIGHTS), SRAEOptions("features", hidden=(), image_size=64))
    explainer.save(tmp_path / "run" / "explainer", metadata={"epochs": 3})
    figures = {"test/f_reg": 0.125, "test/iou": 1, "test/iou/skipped": 0, "test/o2": float("inf"), "test/hard": None}
    (tmp_path / "run" / "metrics.json").write_text(json.dumps(figures))
    return tmp_path / "run"


def test_a_run_becomes_a_folder_with_a_card(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(run_folder), str(tmp_path / "out"), "--data", "Rendered flowers."]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/out/README.md\n"
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    for part in ("| epochs | 3 |", "| f_reg ↓ | 0.125 logits:", "| iou ↑ | 1 %:", "| data | Rendered flowers. |"):
        assert part in card
    for part in ("skipped", "o2", "hard"):
        assert part not in card
    assert vitrine.load(tmp_path / "out").backbone.digest == vitrine.load(run_folder / "explainer").backbone.digest


def test_weights_are_named_and_left_out(run_folder: Path, tmp_path: Path) -> None:
    """Those of the package as they are called on any machine."""
    assert main([str(run_folder), str(tmp_path / "out"), "--weights", WEIGHTS]) == 0
    assert not (tmp_path / "out" / BACKBONE_NAME).exists()
    assert json.loads((tmp_path / "out" / CONFIG_NAME).read_text())["backbone"]["weights"] == WEIGHTS
    assert vitrine.load(tmp_path / "out").classes == []


@pytest.mark.parametrize(
    ("change", "told"),
    [("missing", "metrics.json does not exist; test the run first"), ("[1]", "does not hold figures by name")],
)
def test_runs_that_were_not_tested(
    change: str, told: str, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run_folder / "metrics.json"
    path.unlink()
    if change != "missing":
        path.write_text(change)
    assert main([str(run_folder), "out"]) == 2
    assert told in capsys.readouterr().err


def test_the_explainer_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names every flower by its head, from any folder, and its card has the figures that it was released with."""
    monkeypatch.chdir(tmp_path)
    explainer = vitrine.load("flower")
    assert explainer.classes == ["red", "orange", "yellow", "blue", "violet", "pink"]
    explanation = explainer.explain(torch.rand(2, 3, 80, 80), target=3)
    assert explanation.heatmaps.shape[2:] == (80, 80)
    folder = PACKAGE / "data" / "an8flower" / "flower_explainer"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 1_000_000
    figures = json.loads((folder / CONFIG_NAME).read_text())["metadata"]["figures"]
    assert f"| f_reg ↓ | {figures['test/f_reg']:.4g} logits: " in (folder / "README.md").read_text(encoding="utf-8")
    (tmp_path / "flower").mkdir()
    with pytest.raises(FileNotFoundError, match=r"flower/explainer\.json"):
        vitrine.load("flower")  # a folder of one's own goes first
