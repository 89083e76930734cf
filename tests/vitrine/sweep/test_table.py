"""The table of a sweep: its order, and pages that escape what they show."""

import json
from pathlib import Path
from typing import Any

import pytest

from vitrine.sweep.run import RunState, SweepRun
from vitrine.sweep.sweep_file import SweepFile
from vitrine.sweep.table import ordered, shown_figures, write_tables


def run_of(folder: Path, value: float | None, status: Any = "finished", **parameters: Any) -> SweepRun:
    folder.mkdir(parents=True)
    (folder / "metrics-fit.json").write_text(json.dumps({"train/loss": 1.0, "val/f_cls": value, "val/f_reg": 2.0}))
    state = RunState(parameters, [["x"]], status, "it is <b>bad</b> | worse" if status == "failed" else "")
    state.write(folder)
    return SweepRun(folder, parameters, [["x"]])


def sweep(*, smaller: bool) -> SweepFile:
    return SweepFile(Path("s.yaml"), "grid", "val/f_cls", smaller, {"a": {"values": [1, 2]}}, [], "train.py")


@pytest.fixture
def runs(tmp_path: Path) -> list[SweepRun]:
    values = {"none": None, "low": 0.25, "high": 0.75}
    found = [run_of(tmp_path / name, value, a=name) for name, value in values.items()]
    return [run_of(tmp_path / "broken", 0.1, "failed", a="broken"), *found]


@pytest.mark.parametrize(("smaller", "order"), [(True, ["low", "high"]), (False, ["high", "low"])])
def test_the_best_is_first_and_those_without_a_value_last(
    smaller: bool, order: list[str], runs: list[SweepRun]
) -> None:
    assert [run.folder.name for run in ordered(runs, sweep(smaller=smaller))][:2] == order


def test_the_metric_is_shown_before_other_figures(runs: list[SweepRun]) -> None:
    assert shown_figures(runs, sweep(smaller=True)) == ["val/f_cls", "val/f_reg"]


def test_pages_escape_what_they_show_and_open_a_runs_page(runs: list[SweepRun], tmp_path: Path) -> None:
    (tmp_path / "low" / "report").mkdir()
    (tmp_path / "low" / "report" / "index.html").touch()
    page = write_tables(tmp_path, runs, sweep(smaller=True)).read_text(encoding="utf-8")
    assert "it is &lt;b&gt;bad&lt;/b&gt;" in page
    assert 'href="low/report/index.html"' in page
    markdown = (tmp_path / "sweep.md").read_text(encoding="utf-8")
    assert r"it is <b>bad</b> \| worse" in markdown
    assert len({line.replace(r"\|", "").count("|") for line in markdown.splitlines()}) == 1
