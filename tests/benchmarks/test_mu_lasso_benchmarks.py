"""The small benchmarks of the μ-Lasso run from their command lines and leave the figures that they print."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import mu_lasso, response_scaling
from vitrine.data.shards.cli import main as shards
from vitrine.filters.scaling import SCALINGS

MUS = response_scaling.MUS


def figures(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return found


def test_response_scaling(class_folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    for split in ("train", "test"):
        folder = str(tmp_path / "shards" / split)
        assert shards(["folder", "--root", str(class_folder), "--split", split, "--out", folder, "--workers", "1"]) == 0
    out, kept = tmp_path / "scaling.json", tmp_path / "responses"
    options = ["--shards", str(tmp_path / "shards"), "--networks", "squeezenet1_1", "--save-responses", str(kept)]
    response_scaling.main([*options, "--device", "cpu", "--out", str(out)])
    rows = figures(out)["networks"]["squeezenet1_1"]
    assert [(row["scaling"], row["mu"]) for row in rows] == [(name, mu) for name in SCALINGS for mu in MUS[name]]
    for row in rows:
        assert row["filters"] <= 2 * row["filters_a_class"]
        assert 0 <= row["share_in_narrow_layers"] <= 1
        assert 0 <= row["test_auc"] <= 1
    with np.load(kept / "squeezenet1_1.npz") as arrays:
        assert arrays["labels"].sum(axis=0).tolist() == [6, 6]
        assert len(arrays["x"]) == 12


def test_mu_lasso_random_and_responses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    file, out = tmp_path / "kept.npz", tmp_path / "times.json"
    np.savez(file, x=generator.random((40, 60), np.float32), labels=np.eye(3, dtype=np.float32)[np.arange(40) % 3])
    random = ["--samples", "60", "--filters", "30", "--classes", "2", "--relevant", "3"]
    for options, name in ((random, "random, rows"), (["--responses", str(file), "--mu", "1"], "kept, rows")):
        monkeypatch.setattr(sys, "argv", ["mu_lasso", *options, "--rounds", "1", "--device", "cpu", "--out", str(out)])
        mu_lasso.main()
        found = figures(out)["problems"][name]
        assert found["converged"] == found["classes"]
        assert max(found["relative_gaps"]) <= 1e-6
        assert found["spgl1 / first solve"] == pytest.approx(found["spgl1"][0] / found["first_solve"][0])
