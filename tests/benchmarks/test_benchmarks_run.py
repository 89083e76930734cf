"""The benchmarks run from their command lines, at a small size, and leave the figures that they print."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from benchmarks import attribution
from benchmarks.attribution_cases import FILTER_METHODS

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a benchmark's main with options and gives what it wrote."""
    torch.manual_seed(0)

    def main(module: ModuleType, *options: str) -> dict[str, Any]:
        out = tmp_path / "runs" / "figures.json"
        monkeypatch.setattr(sys, "argv", [module.__name__, *options, "--size", "64", "--out", str(out)])
        module.main()
        figures: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        return figures

    return main


def test_attribution(run: Run) -> None:
    options = [
        "--networks",
        "squeezenet1_0",
        "--batches",
        "1",
        "2",
        "--rounds",
        "1",
        "--methods",
        "Saliency",
        "LayerCAM",
    ]
    found = run(attribution, *options, "--channels-last")["figures"]["squeezenet1_0"]
    assert [(row["method"], row["batch"]) for row in found["methods"]] == [
        ("Saliency", 1), ("LayerCAM", 1), ("Saliency", 2), ("LayerCAM", 2),
    ]  # fmt: skip
    assert all(row["over gradient"] > 0 and row["over library"] > 0 for row in found["methods"])
    layers = ("features.12", "features.5")
    methods = [(name, layer) for layer in layers for name in FILTER_METHODS]
    assert [(row["method"], row["layer"]) for row in found["filters"]] == methods
    assert [row["batch"] for row in found["together"]] == [1, 2]
    assert all(row["together over apart"] > 0 for row in found["together"])


def test_smoke_names_what_it_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attribution, "SMOKE", [("GradCAM", "library")])
    monkeypatch.setattr(attribution, "SMOKE_SIZE", 64)
    ratios = attribution.smoke()
    assert list(ratios) == [
        "attribution: library / GradCAM", "attribution: 10 calls / 10 filters", "attribution: cheap methods apart / together",
    ]  # fmt: skip
    assert all(value > 0 for value in ratios.values())
