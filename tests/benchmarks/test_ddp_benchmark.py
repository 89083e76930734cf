"""The benchmark of ranks and workers, at a small size."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from benchmarks.ddp import __main__ as ddp
from benchmarks.small_runs import MODULES, digest, write_config


def run_folder(folder: Path, weight: float, loss: str, metric: float | None) -> Path:
    """What a run leaves."""
    (folder / "explainer").mkdir(parents=True)
    (folder / "logs" / "version_0").mkdir(parents=True)
    save_file({"heads": torch.tensor([weight, 4.0])}, folder / "explainer" / "explainer.safetensors")
    (folder / "logs" / "version_0" / "metrics.csv").write_text(f"epoch,step,train/loss\n0,3,{loss}\n")
    (folder / "metrics.json").write_text(json.dumps({"test/iou": metric}))
    return folder


def test_differences_of_runs(tmp_path: Path) -> None:
    one = run_folder(tmp_path / "a", 1.0, "0.5", 0.25)
    other = run_folder(tmp_path / "b", 1.5, "0.25", 0.75)
    assert ddp.differences(one, one) == {"weights": 0, "losses": 0, "metrics": 0}
    assert ddp.differences(one, other) == {"weights": 0.5 / 4, "losses": 0.25, "metrics": 0.5}
    assert ddp.differences(run_folder(tmp_path / "c", 1.0, "0.5", None), one)["metrics"] is not None


@pytest.mark.parametrize(
    ("found", "expected", "largest"),
    [
        ({"a": 1.0}, {"a": 0.5}, 0.5),
        ({"a": 12.0}, {"a": 10.0}, 0.2),
        ({"a": 1.0}, {}, math.inf),
        ({"a": math.nan}, {"a": math.nan}, 0),
        ({}, {}, 0),
    ],
)
def test_the_largest_difference(found: dict[str, float], expected: dict[str, float], largest: float) -> None:
    assert ddp.largest(found, expected) == largest
    assert math.isnan(ddp.largest({"a": math.nan}, {"a": 1.0}))


def test_configurations_name_known_classes(tmp_path: Path) -> None:
    import lightning_modules

    for module, (kind, _) in MODULES.items():
        assert kind in lightning_modules.__all__
        text = write_config(tmp_path / "config.yaml", module, tmp_path, tmp_path, epochs=1).read_text()
        assert f"class_path: {kind}" in text


def test_a_digest_tells_bits_and_names_apart() -> None:
    state = {"a": torch.zeros(2), "b": torch.ones(1)}
    assert digest(state) == digest(dict(reversed(state.items())))
    assert digest(state) != digest({"a": torch.tensor([0.0, -0.0]), "b": torch.ones(1)})
    assert digest(state) != digest({"b": torch.zeros(2), "a": torch.ones(1)})


@pytest.mark.parametrize("module", ["srae", "inversion"])
def test_one_module_on_two_ranks(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "figures.json"
    options = ["--ranks", "2", "--workers", "0", "--views", "5", "--epochs", "2", "--batch", "6", "--loop-epochs", "1"]
    monkeypatch.setattr(
        sys, "argv", ["ddp", "--modules", module, *options, "--work", str(tmp_path / "work"), "--out", str(out)]
    )
    ddp.main()
    runs: list[dict[str, Any]] = json.loads(out.read_text())["runs"]
    assert [(run["ranks"], run["workers"]) for run in runs] == [(1, 0), (2, 0)]
    assert [run.get("error") for run in runs] == [None, None]
    assert runs[0]["metrics"] == 0
    assert runs[1]["metrics"] < 0.05
    if module == "srae":
        assert runs[1]["gradient_bytes"] == runs[1]["parameter_bytes"] > 0
        assert runs[1]["loop_steps_per_s"] > 0
