"""The tables and figures of Qi, Khorram and Li (2018), by their files, on tiny sets in the official layouts."""

from collections.abc import Sequence
from pathlib import Path

import pytest

import train
from experiments.pictures import write_figures
from experiments.planning import Places
from experiments.reading import find_experiment
from experiments.running import Runner
from experiments.schema import Table
from experiments.tables import Cells, read_cells, write_tables
from tests.helpers.bird_sets import write_cub

OF_HEATMAPS = {"O1", "O2", "Locality"}
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, rooms: Path) -> Path:
    """A folder of data sets: birds and rooms."""
    folder = tmp_path_factory.mktemp("data")
    write_cub(folder / "CUB_200_2011", classes=3, train=4, test=2, size=40)
    for path in rooms.iterdir():
        (folder / path.name).symlink_to(path)
    return folder


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all experiments write, so that they share runs."""
    return tmp_path_factory.mktemp("out")


@pytest.fixture(autouse=True)
def _in_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", ["train.py"])


def run_train(arguments: Sequence[str]) -> None:
    train.main(list(arguments))


def run_tiny(name: str, data: Path, out: Path, *only: str) -> tuple[Table, Cells, list[Path]]:
    """Runs an experiment on a tiny set; returns its table, the cells of it, and the files of its figures."""
    experiment, places = find_experiment(f"qi2018/{name}"), Places(data, out, tiny=True)
    Runner(experiment, places, run_train).run(only)
    assert write_tables(experiment, places) is not None
    assert experiment.table is not None
    return experiment.table, read_cells(experiment, places), write_figures(experiment, places)


def not_measured(table: Table, cells: Cells) -> set[str]:
    """Columns of which a row has no figure though the paper has one."""
    return {title for label, figures in table.paper.items() for title in figures if not cells[label][title].values}


def test_table_1(data: Path, out: Path) -> None:
    """All of the paper's figures are measured, but for heatmaps that such small networks leave empty."""
    table, cells, _ = run_tiny("table1", data, out)
    assert not_measured(table, cells) <= OF_HEATMAPS
    assert cells["ExcitationBP"]["Locality"].values
    assert cells["ExcitationBP"]["F_reg test"].mean == pytest.approx(0, abs=1e-5)
    assert cells["Lasso"]["and drawn"].mean == cells["Lasso"]["dimensions used"].mean
    assert cells["Z"]["and drawn"].mean == 3


@pytest.mark.parametrize(
    ("name", "only", "rows"),
    [
        ("table2a", ["lasso-0.5"], ["α = 0.5"]),
        ("table4", [], ["x-features", "ExcitationBP"]),
        ("table3", ["srae", "lasso"], ["SRAE", "Lasso"]),
        ("table5", ["lasso-15"], ["α = 15"]),
    ],
)
def test_other_tables(data: Path, out: Path, name: str, only: list[str], rows: list[str]) -> None:
    table, cells, pictures = run_tiny(name, data, out, *only)
    assert {label for label, row in cells.items() if any(cell.values for cell in row.values())} == set(rows)
    measured = {label: row for label, row in cells.items() if label in rows}
    paper = {label: figures for label, figures in table.paper.items() if label in rows}
    assert not_measured(Table(table.rows, table.columns, paper), measured) <= OF_HEATMAPS
    assert bool(pictures) == (name == "table4")


def test_on_a_network_that_is_fine_tuned_first(data: Path, out: Path) -> None:
    _, cells, _ = run_tiny("table1_mobilenet", data, out, "firing-0", "positions", "ebp")
    measured = {label for label, row in cells.items() if row["F_reg test"].values}
    assert measured == {"SRAE", "SRAE, silent x-features not drawn", "SRAE over positions", "ExcitationBP"}
    same = "SRAE, silent x-features not drawn"
    assert cells[same]["F_reg test"].values == cells["SRAE"]["F_reg test"].values
