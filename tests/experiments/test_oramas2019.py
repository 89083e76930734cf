"""The tables and figures of Oramas, Wang and Tuytelaars (2019), by their files, on tiny sets in the official layouts."""

from collections.abc import Sequence
from pathlib import Path

import pytest

import train
from experiments.planning import Places
from experiments.reading import find_experiment
from experiments.running import Runner
from experiments.tables import Cells, read_cells, write_tables
from tests.helpers import image_sets as sets

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all experiments write, so that they share runs."""
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data sets: digits."""
    folder = tmp_path_factory.mktemp("data")
    sets.write_mnist(folder / "MNIST", per_class=6)
    return folder


@pytest.fixture(autouse=True)
def _in_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flowers are rendered in this process, as others would take longer to start."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", ["train.py"])
    monkeypatch.setattr("os.cpu_count", lambda: 1)


def run_train(arguments: Sequence[str]) -> None:
    train.main(list(arguments))


def run_tiny(name: str, data: Path, out: Path, *only: str) -> Cells:
    """Runs an experiment on a tiny set; returns the measured cells of its table by row."""
    experiment, places = find_experiment(f"oramas2019/{name}"), Places(data, out, tiny=True)
    Runner(experiment, places, run_train).run(only)
    assert write_tables(experiment, places) is not None
    return {
        label: row for label, row in read_cells(experiment, places).items() if any(cell.values for cell in row.values())
    }


def test_table_1(data: Path, out: Path) -> None:
    """One fold of one variant: every row is measured, and the flower of that fold alone is rendered."""
    cells = run_tiny("table1_single_6c", data, out, "methods-3")
    assert set(cells) == set(find_experiment("table1_single_6c").table.rows)  # type: ignore[union-attr]
    assert all(len(cell.values) == 1 and cell.runs == 5 for row in cells.values() for cell in row.values())
    rendered = out / "shards" / "an8flower"
    assert [folder.name for folder in rendered.iterdir()] == ["single-6c-3"]
    assert '"test_fold": 3' in (rendered / "single-6c-3" / "settings.json").read_text()


@pytest.mark.parametrize(("name", "variant"), [("table1_double_12c", "double-12c"), ("table1_part_2c", "part-2c")])
def test_other_variants_of_table_1(name: str, variant: str) -> None:
    experiment = find_experiment(name)
    assert experiment.common["data.init_args.render"]["variant"] == variant
    assert experiment.common["data.init_args.shards"] == f"${{out}}/shards/an8flower/{variant}-${{each}}"
    assert bool(experiment.table and experiment.table.paper) == (variant == "double-12c")


def test_digits(data: Path, out: Path) -> None:
    cells = run_tiny("fig4_mnist", data, out)
    assert set(cells) == {"All", "OnlyConv"}
    assert all(len(cell.values) == 1 for row in cells.values() for cell in row.values())
    curve = run_tiny("fig9_mnist", data, out, "all-2")
    assert set(curve) == {"All μ = 2"}
