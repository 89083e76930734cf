"""The benchmark of the μ-Lasso's solver runs from its command line and leaves the figures that it prints."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import mu_lasso
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
