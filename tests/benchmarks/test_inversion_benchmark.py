"""The benchmark of inversion masks: a small run of both parts, and how figures are judged."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.inversion import __main__ as benchmark
from benchmarks.inversion.guard import NETWORKS, smoke
from benchmarks.inversion.timing import Timing, apart, goals_of, speed, timed
from benchmarks.inversion.ways import (
    ALONE,
    BEGUN,
    BFLOAT16,
    FLOAT32,
    LITERAL,
    RELEASED,
    RESTING,
    WAYS,
    WHOLE,
    Found,
    explainer_of,
)
from vitrine.attribution.inversion.settings import PAPER, VARIANTS
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.explainers import InversionExplainer
from vitrine.explainers.inversion.explainer import InversionOptions

SMALL = ["--count=3", "--size=48", "--batch=2", "--rounds=2", "--steps", "2", "3", "--device=cpu"]


def test_a_small_run(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    found = benchmark.main(["--networks", "squeezenet1_0", *SMALL, "--out", str(out)])
    written = json.loads(out.read_text(encoding="utf-8"))
    rows = {row["way"]: row for row in written["ways"]["squeezenet1_0"]}
    assert list(rows) == list(WAYS)
    assert all(len(row["seconds"]) == 2 and min(row["seconds"]) > 0 for row in rows.values())
    assert rows[FLOAT32]["apart"]["worst mask"] < 1e-3
    assert rows[FLOAT32]["final loss"] == pytest.approx(rows[LITERAL]["final loss"], rel=1e-4)
    assert rows[LITERAL]["apart"] == {"loss": 0, "masks": 0, "worst mask": 0}
    assert rows[RELEASED]["apart"] is None
    assert [goal["wanted"] for goal in written["goals"]] == ["≥ 1.5×", "≥ 2.2×", "≥ 3.0×"]
    assert len(found["goals"]) == 3
    assert "threads" in written["machine"]


def test_a_small_run_with_a_predictor(tmp_path: Path, class_folder: Path) -> None:
    torch.manual_seed(0)
    backbone = FrozenBackbone("squeezenet1_0", num_classes=4)
    folder, out = tmp_path / "explainer", tmp_path / "figures.json"
    options = InversionOptions(variant="paper", predictor=4, image_size=48)
    InversionExplainer(backbone, options).save(folder)
    images = ["--images", str(class_folder / "test" / "ant"), "--few=1"]
    found = benchmark.main(["--warm", "--explainers", f"squeezenet1_0={folder}", *SMALL, *images, "--out", str(out)])
    rows = {row["way"]: row for row in found["warm"]["squeezenet1_0"]}
    assert list(rows) == [WHOLE, RESTING, BEGUN, ALONE]
    assert [rows[name]["steps"] for name in (WHOLE, BEGUN, ALONE)] == [5, 1, 0]
    assert rows[RESTING]["steps"] <= 5
    assert rows[WHOLE]["masks apart"] == 0
    assert not found["ways"]
    assert json.loads(out.read_text(encoding="utf-8"))["warm"]["squeezenet1_0"][0]["way"] == WHOLE


def test_explainers_without_a_predictor_are_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    InversionExplainer(FrozenBackbone("squeezenet1_0", num_classes=4), InversionOptions(image_size=48)).save(
        tmp_path / "explainer"
    )
    with pytest.raises(ValueError, match="holds no InversionExplainer with a predictor"):
        explainer_of(tmp_path / "explainer", None, "cpu")


def test_speeds_are_medians_of_rounds_and_judged() -> None:
    found = Found(torch.zeros(1), torch.zeros(1, 1, 2, 2))
    seconds = {LITERAL: [4.0, 6.0, 9.0], RELEASED: [6.0, 9.0, 9.0], FLOAT32: [2.0, 6.0, 3.0], BFLOAT16: [3.0, 2.0, 9.0]}
    timings = {way: Timing(way, found, taken) for way, taken in seconds.items()}
    assert speed(timings, FLOAT32, LITERAL) == 2
    assert [goal.met for goal in goals_of("a", timings)] == [True, False, True]
    assert timings[FLOAT32].median == 3


def test_each_round_begins_with_another_way_and_the_first_does_not_count() -> None:
    order: list[str] = []
    runs = {name: lambda name=name: order.append(name) for name in "abc"}
    timings = timed(runs, 1, 2, "cpu", "")
    assert "".join(order) == "abcbcacab"
    assert [len(timings[name].seconds) for name in "abc"] == [2, 2, 2]


def test_first_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VARIANTS, "paper", replace(PAPER, inversion_steps=1, class_steps=1))
    out = tmp_path / "figures.json"
    found = benchmark.main(["--networks", "squeezenet1_0", *SMALL, "--first-use", "--out", str(out)])
    default, of_paper = found["first use"]["squeezenet1_0"]
    assert default["foretold"] == 0
    assert of_paper["foretold"] > 0
    assert of_paper["speed"] == 1
    assert not found["ways"]


def test_the_guards_ratios() -> None:
    ratios = smoke(size=48, count=1, steps=(1, 1), rounds=1)
    ways = [f"inversion, {name}: literal / {way}" for name in NETWORKS for way in (FLOAT32, BFLOAT16)]
    assert list(ratios) == ways
    assert all(value > 0 for value in ratios.values())


def test_differences() -> None:
    one = Found(torch.tensor([1.0, 2.0]), torch.zeros(2, 1, 2, 2))
    other = Found(torch.tensor([1.5, 2.0]), torch.tensor([1.0, 0, 0, 0]).view(1, 1, 2, 2).expand(2, 1, 2, 2))
    assert apart(one, other) == {"loss": 0.25, "masks": 0.25, "worst mask": 0.25}
