"""The benchmark of the responses runs small."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import responses


@pytest.mark.parametrize("options", [[], ["--precision", "bfloat16", "--channels-last"]])
def test_it_runs_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]) -> None:
    out = tmp_path / "figures.json"
    small = ["--networks", "squeezenet1_1", "--batches", "1", "2", "--size", "64", "--rounds", "1", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["responses", *small, *options, "--out", str(out)])
    responses.main()
    found = json.loads(out.read_text(encoding="utf-8"))["networks"]
    assert list(found) == ["squeezenet1_1, batch 1", "squeezenet1_1, batch 2"]
    for of in found.values():
        assert of["responses / bare pass"] == pytest.approx(of["responses, ms"] / of["bare pass, ms"])
