"""The benchmarks of the μ-Lasso run from their command lines and leave the figures that they print."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import mu_lasso, mu_lasso_imagenet
from benchmarks.feature_store import written_store


def figures(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return found


def test_mu_lasso_random_and_responses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "times.json"
    written_store(tmp_path / "kept", 40, width=60, classes=3)
    (folder,) = {chunk.parent for chunk in (tmp_path / "kept").rglob("chunk-*.safetensors")}
    random = ["--samples", "60", "--filters", "30", "--classes", "2", "--relevant", "3"]
    for options, name in (
        (random, "random, rows"),
        (["--responses", str(folder), "--mu", "1"], f"{folder.name}, rows"),
    ):
        monkeypatch.setattr(sys, "argv", ["mu_lasso", *options, "--rounds", "1", "--device", "cpu", "--out", str(out)])
        mu_lasso.main()
        found = figures(out)["problems"][name]
        assert found["converged"] == found["classes"]
        assert max(found["relative_gaps"]) <= 1e-6
        assert found["spgl1 / first solve"] == pytest.approx(found["spgl1"][0] / found["first_solve"][0])


def test_the_regression_guard_has_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mu_lasso, "SMOKE_ROWS", 32)
    monkeypatch.setattr(mu_lasso, "SMOKE_FILTERS", 16)
    ratios = mu_lasso.smoke()
    assert list(ratios) == ["μ-Lasso sums: bare product / ours", "μ-Lasso: spgl1 / ours"]
    assert min(ratios.values()) > 0


def test_mu_lasso_imagenet_goes_on_from_its_sums_and_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "found.json"
    size = [
        "--samples",
        "300",
        "--filters",
        "120",
        "--classes",
        "10",
        "--rows",
        "64",
        "--folder",
        str(tmp_path / "kept"),
    ]

    def run(*options: str) -> dict[str, Any]:
        monkeypatch.setattr(sys, "argv", ["mu_lasso_imagenet", *size, *options, "--out", str(out)])
        mu_lasso_imagenet.main()
        return figures(out)

    with pytest.raises(FileNotFoundError, match="run --stage sums"):
        run("--stage", "solve")
    assert run("--stage", "sums", "--seconds", "0")["sums"]["samples in all"] == 64
    assert run("--stage", "sums")["sums"]["samples in all"] == 300
    for scaling, mu in (("paper", "10"), ("standardized", "0.2")):
        found = run("--stage", "solve", "--scaling", scaling, "--mu", mu)["solve"]
        assert found["converged"] == found["classes"] == 10
        assert found["largest relative gap"] <= 1e-6
        again = run("--stage", "solve", "--scaling", scaling, "--mu", mu)["solve"]
        assert again["filters a class"] == found["filters a class"]
