"""The benchmarks of the datamodules run at a small size, and leave the figures that they print."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from benchmarks import datamodule_speed, stream_scale


def run(module: ModuleType, monkeypatch: pytest.MonkeyPatch, out: Path, *options: str) -> dict[str, Any]:
    monkeypatch.setattr(sys, "argv", [module.__name__, *options, "--out", str(out)])
    module.main()
    figures: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return figures


def test_stream_scale(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    options = ["--samples", "900", "--shards", "30", "--batch-size", "7", "--window", "100"]
    found = run(stream_scale, monkeypatch, tmp_path / "figures.json", *options)
    assert found["distinct keys"] == 900
    assert found["keys that came twice"] == 0
    assert 0 < found["most open shards in a process"] <= 16
    assert found["same_shard"] < 0.4
    assert len(found["probes"]) == 2


def test_a_slope_is_that_of_the_settled_part() -> None:
    probes = [
        stream_scale.Probe(1000 * number, 500 + (number if number > 3 else 50 * number), 1) for number in range(12)
    ]
    assert stream_scale.slope(probes) == pytest.approx(100)


def test_datamodule_speed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    options = [
        "--samples",
        "12",
        "--side",
        "32",
        "--size",
        "16",
        "--shard-size",
        "6",
        "--rounds",
        "1",
        "--workers",
        "0",
    ]
    found = run(datamodule_speed, monkeypatch, tmp_path / "figures.json", *options)
    assert found["ratio"] == pytest.approx(found["datamodule"][0] / found["bare webdataset loop"][0])
