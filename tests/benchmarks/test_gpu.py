"""The script for a GPU, tried on the CPU at tiny sizes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gpu


def run(monkeypatch: pytest.MonkeyPatch, out: Path, *options: str) -> dict[str, Any]:
    monkeypatch.setattr(sys, "argv", ["gpu", "--device", "cpu", "--tiny", "--out", str(out), *options])
    gpu.main()
    figures: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))["figures"]
    return figures


def test_the_parts_that_run_in_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(monkeypatch, tmp_path / "gpu.json", "--parts", "extraction", "heads", "inversion")
    assert len(found["extraction"]["ways"]) == 5
    assert all(row["images/s"] > 0 and row["share of peak"] > 0 for row in found["extraction"]["ways"].values())
    assert found["heads"]["samples/s"] > 0
    assert found["inversion"]["seconds an image, bf16"] > 0


def test_what_has_no_time_left_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(monkeypatch, tmp_path / "gpu.json", "--minutes", "0")
    assert found == {part: {"left out": "no time was left"} for part in gpu.PARTS}


def test_a_part_that_fails_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_long(*_: object) -> dict[str, Any]:
        raise subprocess.TimeoutExpired("tests", 1)

    out = tmp_path / "gpu.json"
    monkeypatch.setattr(gpu, "PARTS", {"tests": too_long, "methods": lambda *_: {"images/s": 3.0}})
    with pytest.raises(SystemExit, match="failed: tests"):
        run(monkeypatch, out)
    figures = json.loads(out.read_text(encoding="utf-8"))["figures"]
    assert figures["tests"]["failed"].startswith("TimeoutExpired")
    assert figures["methods"]["images/s"] == 3


def test_a_machine_without_a_gpu_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu", "--device", "cuda"])
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit):
        gpu.main()
    assert "--device cpu --tiny" in capsys.readouterr().err
