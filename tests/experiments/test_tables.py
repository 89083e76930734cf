"""Tables: figures of runs in their columns, several runs as mean ± standard deviation, beside the paper's."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from experiments.running import Runner
from experiments.schema import Experiment
from experiments.tables import Cell, read_cells, write_tables
from tests.helpers.experiment_files import experiment_of, options_of, places_in


def write_json(folder: Path, name: str, figures: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(figures))


def train(arguments: Sequence[str]) -> None:
    """Writes what fits on folds leave, and nothing for other runs."""
    options = options_of(arguments)
    if "data.init_args.loading.val_fold" in options:
        value = (0.25, 0.75)[int(options["data.init_args.loading.val_fold"])]
        write_json(Path(options["trainer.default_root_dir"]), "metrics-fit.json", {"val/f": value})


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    """With figures of three seeds, of explainers in one run, and none of another run."""
    folder = tmp_path / "out/paper2020/table"
    for seed, value in enumerate((0.99, 0.98, None)):
        write_json(folder / f"srae-{seed}", "metrics.json", {"test/f_cls": value, "test/o1": seed + 1})
        write_json(folder / f"srae-{seed}", "metrics-fit.json", {"train/f": 2.0})
    write_json(folder / "methods/explainers/GradCAM", "metrics.json", {"test/f_cls": 0.5, "test/o1": 0.25})
    write_json(folder / "methods", "own.json", {"a": {"b": 7}})
    choice = {"grid": {"m.beta": [5]}, "figure": "val/f", "folds": 2}
    made = experiment_of(
        tmp_path,
        runs={"srae": {"over": {"seed": [0, 1, 2]}, "choose": choice}, "methods": {}, "none": {}},
        table={
            "rows": {
                "SRAE": "srae",
                "CAM": "methods/GradCAM",
                "None": "none",
                "All": ["methods", "srae"],
                "One": "srae-1",
            },
            "columns": {
                "F_cls": {"figure": "test/f_cls", "scale": 100, "digits": 1, "best": "max"},
                "O1": {"figure": "test/o1", "digits": 2, "best": "min"},
                "train": {"figure": "train/f", "digits": 0},
                "own": {"figure": "a/b", "file": "own.json", "digits": 0},
            },
            "paper": {"SRAE": {"F_cls": 99.99}, "EBP": {"F_cls": "–"}},
            "notes": ["A note."],
        },
    )
    Runner(made, places_in(tmp_path), train, str).run()
    return made


def test_markdown(experiment: Experiment, tmp_path: Path) -> None:
    path = write_tables(experiment, places_in(tmp_path))
    assert path is not None
    assert path.read_text().splitlines() == [
        "# A table",
        "",
        "|  | F_cls | paper | O1 | train | own |",
        "|---|---|---|---|---|---|",
        "| SRAE | **98.5 ± 0.7 (2 of 3 runs)** | 99.99 | 2.00 ± 1.00 | 2 ± 0 | – |",
        "| CAM | 50.0 | – | **0.25** | – | – |",
        "| None | – | – | – | – | – |",
        "| All | **98.5 ± 0.7 (2 of 4 runs)** | – | 2.00 ± 1.00 (3 of 4 runs) | 2 ± 0 (3 of 4 runs) | 7 (1 of 4 runs) |",
        "| One | 98.0 | – | 2.00 | 2 | – |",
        "| EBP | – | – | – | – | – |",
        "",
        "A note.",
        "",
        "srae: beta 5, by val/f over 2 folds (5: 0.5).",
    ]


def test_csv(experiment: Experiment, tmp_path: Path) -> None:
    write_tables(experiment, places_in(tmp_path))
    with (tmp_path / "out/paper2020/table/table.csv").open() as file:
        rows = {row["row"]: row for row in csv.DictReader(file)}
    assert float(rows["SRAE"]["F_cls"]) == pytest.approx(98.5)
    assert float(rows["SRAE"]["F_cls std"]) == pytest.approx(0.5**0.5)
    assert rows["SRAE"]["F_cls runs"] == "2"
    assert rows["SRAE"]["F_cls paper"] == "99.99"
    assert rows["CAM"]["O1 std"] == rows["None"]["F_cls"] == rows["EBP"]["O1"] == ""


def test_no_table_and_broken_figures(experiment: Experiment, tmp_path: Path) -> None:
    assert write_tables(experiment_of(tmp_path), places_in(tmp_path)) is None
    (tmp_path / "out/paper2020/table/none/metrics.json").write_text("{")
    with pytest.raises(ValueError, match=r"none/metrics\.json is no JSON"):
        write_tables(experiment, places_in(tmp_path))


def test_runs_that_are_not_complete_today_are_not_shown(tmp_path: Path) -> None:
    """Nor their choices; a run that was never begun needs no note."""

    def experiment_with(value: int, commands: Sequence[str] = ("test",)) -> Experiment:
        choice = {"grid": {"b": [1]}, "figure": "val/f", "folds": 2}
        network = {"commands": ["fit"], "set": {"x": value}}
        runs = {"net": network, "heads": {"set": {"w": "${run:net}"}, "choose": choice}, "own": {"commands": commands}}
        rows = {"H": "heads", "M": "heads/CAM", "O": "own", "N": "none"}
        columns = {"F": {"figure": "test/f", "digits": 1}}
        return experiment_of(tmp_path, runs=runs | {"none": {}}, table={"rows": rows, "columns": columns})

    def shown(experiment: Experiment) -> tuple[list[str], str]:
        path = write_tables(experiment, places_in(tmp_path))
        assert path is not None
        cells = read_cells(experiment, places_in(tmp_path))
        return [str(row["F"]) for row in cells.values()], path.read_text().partition("| N |")[2]

    folder = tmp_path / "out/paper2020/table"
    Runner(experiment_with(1), places_in(tmp_path), train, str).run(["heads", "own"])
    for run, value in {"heads": 1, "heads/explainers/CAM": 2, "own": 3}.items():
        write_json(folder / run, "metrics.json", {"test/f": value})
    cells, notes = shown(experiment_with(1))
    assert cells == ["1.0", "2.0", "3.0", "–"]
    assert "Not shown" not in notes
    assert "heads: b 1" in notes
    cells, notes = shown(experiment_with(2))
    assert cells == ["–", "–", "3.0", "–"]
    assert "changed since: net, heads; run" in notes
    assert "heads: b 1" not in notes
    cells, notes = shown(experiment_with(1, ["test", "predict"]))  # of which only the first has been run
    assert cells == ["1.0", "2.0", "–", "–"]
    assert "changed since: own; run them again, or give the --data of then." in notes
    with (folder / "table.csv").open() as file:
        assert [row["F"] for row in csv.DictReader(file)] == ["1.0", "2.0", "", ""]


def test_a_cell() -> None:
    assert str(Cell([0.5], 1, 2)) == "0.50"
    assert str(Cell([], 1, 2)) == "–"
