"""Experiments of the inversion paper run on tiny sets in their official layouts, and fill their tables."""

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

import train
from experiments.planning import Places, planned_runs
from experiments.reading import experiment_files, find_experiment, run_names
from experiments.running import ROOT, Runner
from experiments.tables import run_folders, write_tables
from tests.helpers.paper_sets import write_all

NAMES = [name for name in experiment_files() if name.startswith("du2018/")]
RUN = (
    "table1", "table1_birds", "table2", "table3_mobilenet", "figure2_mobilenet", "figure3_birds", "figure5_tiny_imagenet",
    "figure8",
)  # fmt: skip
"""Those that are run; each of the others has the runs of one of them, on the data of another."""


@pytest.fixture(scope="session")
def paper_sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_all(tmp_path_factory.mktemp("data"))


def train_here(arguments: Sequence[str]) -> None:
    train.main(list(arguments))


@pytest.mark.parametrize("name", NAMES)
def test_the_runs_of_an_experiment_can_be_planned(name: str, tmp_path: Path) -> None:
    """Its configurations are there, every row is of a run, and every run fills a row or is read by one that does."""
    experiment, places = find_experiment(name), Places(tmp_path / "data", tmp_path / "out")
    planned = planned_runs(experiment, places)
    configs = [after for one in planned for before, after in pairwise(one.arguments) if before == "-c"]
    configs += [word.removeprefix("--data=") for one in planned for word in one.arguments if word.startswith("--data=")]
    assert all((ROOT / config).is_file() for config in configs)
    assert experiment.table is not None
    shown = {place.split("/")[0] for named in experiment.table.rows.values() for place in run_names(named)}
    read = {run for one in planned for run in one.needs}
    assert {one.name for one in planned if one.option_name not in shown} <= read
    assert set(experiment.table.paper) <= {*experiment.table.rows, "CAM"}


@pytest.mark.parametrize("name", RUN)
def test_an_experiment_fills_its_table(
    name: str, paper_sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each row has the figures of its columns; α is chosen where a run validates."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", ["train.py"])
    experiment, places = find_experiment(f"du2018/{name}"), Places(paper_sets, tmp_path, tiny=True)
    Runner(experiment, places, train_here, lambda _: None).run()
    assert write_tables(experiment, places) is not None
    assert experiment.table is not None
    for label, named in experiment.table.rows.items():
        for folder in run_folders(experiment, run_names(named), places):
            figures = json.loads((folder / "metrics.json").read_text())
            lacking = [column.figure for column in experiment.table.columns.values() if column.figure not in figures]
            assert not lacking, (label, lacking)
    folder = places.folder(experiment)
    chosen = [json.loads(path.read_text()) for path in folder.rglob("validation.json")]
    assert all(0 <= choice["localization_alpha"] <= 10 for choice in chosen)
    tuned = any("validate" in run.commands for run in experiment.runs.values())
    assert bool(chosen) == tuned
