"""Every experiment of the inversion paper runs on tiny sets in their official layouts, and fills its table."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

import train
from experiments.planning import Places
from experiments.reading import experiment_files, find_experiment
from experiments.running import ROOT, Runner
from experiments.tables import write_tables
from tests.helpers.paper_sets import write_all

NAMES = [name for name in experiment_files() if name.startswith("du2018/")]


@pytest.fixture(scope="session")
def paper_sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_all(tmp_path_factory.mktemp("data"))


def train_here(arguments: Sequence[str]) -> None:
    train.main(list(arguments))


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_fills_its_table(
    name: str, paper_sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each row that is run has a figure in the first columns; nothing is left below the repository."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", ["train.py"])
    experiment, places = find_experiment(name), Places(paper_sets, tmp_path, tiny=True)
    Runner(experiment, places, train_here, lambda _: None).run()
    written = write_tables(experiment, places)
    assert written is not None
    assert experiment.table is not None
    lines = written.read_text().splitlines()
    for label in experiment.table.rows:
        (row,) = [line for line in lines if line.startswith(f"| {label} |")]
        assert any(character.isdigit() for character in row.removeprefix(f"| {label} |")), row
    folder = places.folder(experiment)
    chosen = [json.loads(path.read_text()) for path in folder.rglob("validation.json")]
    assert all(0 <= choice["localization_alpha"] <= 10 for choice in chosen)
    tuned = any("validate" in run.commands for run in experiment.runs.values())
    assert bool(chosen) == tuned
