"""The benchmark of a test run: what it compares, and its parts."""

import json
import sys
from pathlib import Path

import pytest

import train
from benchmarks import evaluation
from benchmarks.run_clock import ALL, EXPLAINED, NETWORK, WAYS, Clock
from benchmarks.small_runs import extra_callback


def test_a_small_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    out = tmp_path / "evaluation.json"
    sizes = ["--views", "5", "--size", "64", "--epochs", "1", "--rounds", "1"]
    monkeypatch.setattr(sys, "argv", ["evaluation", *sizes, f"--out={out}"])
    evaluation.main()
    found = json.loads(out.read_text(encoding="utf-8"))
    assert set(found["seconds"]) == set(WAYS)
    assert set(found["ratios"]) == {f"evaluation: {way} / {ALL}" for way in (EXPLAINED, NETWORK)}
    assert {"callback ReportGallery", "callback ContactSheets", "metric IoUCurve"} <= set(found["parts"])
    assert sum(found["parts"].values()) < sum(found["seconds"][ALL]), "each part is counted once"


def test_a_test_that_explains_alone_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    options = evaluation.options_of_run(tmp_path, views=5, size=64, epochs=1)
    before = {path for path in (tmp_path / "run").rglob("*") if path.is_file()}
    clock = Clock(EXPLAINED)
    with extra_callback(clock, alone=True):
        train.main(["test", *options])
    new = {path for path in (tmp_path / "run").rglob("*") if path.is_file()} - before
    assert {path.name for path in new} <= {"hparams.yaml", "metrics.csv", "config-test.yaml"}
    assert clock.run > 0
    assert not any(name.startswith("metric") for name in clock.parts)
