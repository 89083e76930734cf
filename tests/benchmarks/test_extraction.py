"""The benchmark of the first epoch runs small, and both of its sides see every image."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import extraction
from benchmarks.common import NamedWeights

SMALL = ["--samples", "6", "--size", "64", "--classes", "2", "--batch-size", "4", "--rounds", "1"]


def test_it_runs_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "figures.json"
    options = [*SMALL, "--networks", "squeezenet1_1", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["extraction", *options, "--out", str(out)])
    extraction.main()
    found = json.loads(out.read_text(encoding="utf-8"))["networks"]["squeezenet1_1"]
    assert list(found) == [extraction.BARE, *extraction.EXPLAINERS]
    for name in extraction.EXPLAINERS:
        assert found[name]["over bare"] == pytest.approx(found[name]["seconds"] / found[extraction.BARE]["seconds"])
        assert 0 < found[name]["training over bare"] < found[name]["over bare"]
    assert "squeezenet1_1, SRAE" in capsys.readouterr().out


def test_both_sides_see_every_image_in_the_same_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    args = extraction.parser().parse_args([*SMALL, "--precision", "bfloat16", "--channels-last", "--device", "cpu"])
    shards = extraction.write_noise(tmp_path / "noise", args.samples, 64, args.classes)
    passes = extraction.Passes(NamedWeights("squeezenet1_1", None), args, shards, tmp_path)
    seen: list[tuple[int, Any]] = []
    run = extraction.PassOptions.run
    monkeypatch.setattr(
        extraction.PassOptions,
        "run",
        lambda self, call, images: (seen.append((len(images), self)), run(self, call, images))[1],
    )
    passes.bare()
    bare, seen[:] = list(seen), []
    passes.fits("SRAE")()
    assert bare == [(4, passes.compute), (2, passes.compute)]
    assert seen == [(1, passes.compute), *bare]  # the first shows the sizes
