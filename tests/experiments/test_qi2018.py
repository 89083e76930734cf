"""The tables and figures of Qi, Khorram and Li (2018) from the command line's files, on tiny sets in the official layouts."""

from collections.abc import Sequence
from pathlib import Path

import pytest

import train
from experiments.pictures import write_figures
from experiments.planning import Places
from experiments.reading import experiment_files, find_experiment
from experiments.running import Runner
from experiments.schema import Experiment
from experiments.tables import Cell, read_cells, write_tables
from tests.helpers.bird_sets import write_cub

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data sets."""
    folder = tmp_path_factory.mktemp("data")
    write_cub(folder / "CUB_200_2011", classes=3, train=4, test=2, size=40)
    return folder


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all experiments write, so that they share runs."""
    return tmp_path_factory.mktemp("out")


def run_train(arguments: Sequence[str]) -> None:
    train.main([str(one) for one in arguments])


def run_tiny(name: str, data: Path, out: Path) -> tuple[Experiment, dict[str, dict[str, Cell]]]:
    """Runs an experiment on a tiny set; returns it with the cells of its table."""
    experiment, places = find_experiment(name), Places(data, out, tiny=True)
    Runner(experiment, places, run_train).run()
    write_tables(experiment, places)
    write_figures(experiment, places)
    return experiment, read_cells(experiment, places)


def test_table_1(data: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    experiment, cells = run_tiny("qi2018/table1", data, out)
    assert experiment.table is not None
    for label, row in cells.items():
        for title, cell in row.items():
            is_there = bool(cell.values)
            print(label, title, cell)
