"""The benchmark of the first epoch runs small."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import extraction
from benchmarks.first_epoch import BARE, EXPLAINERS

SMALL = ["--samples", "6", "--size", "64", "--classes", "2", "--batch-size", "4", "--rounds", "1"]


def test_it_runs_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "figures.json"
    options = [*SMALL, "--networks", "squeezenet1_1", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["extraction", *options, "--out", str(out)])
    extraction.main()
    found = json.loads(out.read_text(encoding="utf-8"))["networks"]["squeezenet1_1"]
    assert list(found) == [BARE, *EXPLAINERS]
    for name in EXPLAINERS:
        assert found[name]["over bare"] == pytest.approx(found[name]["seconds"] / found[BARE]["seconds"])
        assert 0 < found[name]["training over bare"] < found[name]["over bare"]
    assert "squeezenet1_1, SRAE" in capsys.readouterr().out
