"""Tables of experiments: figures of runs, mean ± standard deviation of several, beside those of the paper."""

import json
import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.choosing import FIT_METRICS_NAME, read_choice
from experiments.planning import Places, expanded_names, owner_of, planned_runs
from experiments.reading import run_names
from experiments.running import complete_folders
from experiments.schema import Column, Experiment, Table
from vitrine.core.atomic_io import atomic_file
from vitrine.core.csv_tables import write_csv_table

NOT_MEASURED = "–"
METRICS_NAME = "metrics.json"


@dataclass(frozen=True)
class Cell:
    """Figures of the runs of a row.

    Args:
        values: those that were measured, scaled.
        runs: number of the row's runs.
        digits: after the decimal point.
    """

    values: Sequence[float]
    runs: int
    digits: int

    @property
    def mean(self) -> float:
        """NaN where nothing was measured."""
        return statistics.fmean(self.values) if self.values else math.nan

    def __str__(self) -> str:
        """``0.197 ± 0.005``; how many were measured where it is not all."""
        if not self.values:
            return NOT_MEASURED
        spread = f" ± {statistics.stdev(self.values):.{self.digits}f}" if len(self.values) > 1 else ""
        share = f" ({len(self.values)} of {self.runs} runs)" if len(self.values) < self.runs else ""
        return f"{self.mean:.{self.digits}f}{spread}{share}"


Cells = Mapping[str, Mapping[str, Cell]]
"""By row and column."""


def write_tables(experiment: Experiment, places: Places) -> Path | None:
    """Writes ``table.md`` and ``table.csv`` into the experiment's folder; returns the first, None without a table.

    Runs that are not complete under the options that they have today are not shown; a note names those that were begun.
    """
    table = experiment.table
    if table is None:
        return None
    folder = places.folder(experiment)
    folder.mkdir(parents=True, exist_ok=True)
    complete = complete_folders(experiment, places)
    cells = _all_cells(experiment, table, places, complete)
    labels = list(dict.fromkeys([*table.rows, *table.paper]))
    with atomic_file(folder / "table.csv") as partial:
        write_csv_table(partial, *_csv(table, labels, cells))
    notes = [*table.notes, *choice_notes(experiment, places, complete), *left_out_notes(experiment, places, complete)]
    with atomic_file(folder / "table.md") as partial:
        partial.write_text(
            "\n".join([f"# {experiment.title}", "", *markdown(table, labels, cells), "", *notes, ""]), "utf-8"
        )
    return folder / "table.md"


def read_cells(experiment: Experiment, places: Places) -> Cells:
    """The cells of an experiment's table, by row and column; none without a table."""
    table = experiment.table
    if table is None:
        return {}
    return _all_cells(experiment, table, places, complete_folders(experiment, places))


def run_folders(experiment: Experiment, named: str | Sequence[str], places: Places) -> list[Path]:
    """Folders of the runs that a row names; of one explainer, where a run has measured several."""
    found = []
    for place in run_names(named):
        run, _, explainer = place.partition("/")
        names = expanded_names(experiment, run) if run in experiment.runs else [run]
        folders = [places.run_folder(experiment, name) for name in names]
        found += [one / "explainers" / explainer for one in folders] if explainer else folders
    return found


def only_complete(folders: Sequence[Path], complete: Collection[Path]) -> list[Path]:
    """Those folders that are of complete runs, or of an explainer in one."""
    return [folder for folder in folders if folder in complete or folder.parents[1] in complete]


def markdown(table: Table, labels: Sequence[str], cells: Cells) -> list[str]:
    """Lines of a Markdown table; a column of the paper's figures follows each that the paper has."""
    columns: list[list[str]] = [["", *labels]]
    for title, column in table.columns.items():
        columns.append([title, *_shown(title, column, labels, cells)])
        if any(title in figures for figures in table.paper.values()):
            columns.append(["paper", *(str(table.paper.get(label, {}).get(title, NOT_MEASURED)) for label in labels)])
    header, *rows = [f"| {' | '.join(row)} |" for row in zip(*columns, strict=True)]
    return [header, f"|{'---|' * len(columns)}", *rows]


def choice_notes(experiment: Experiment, places: Places, complete: Collection[Path]) -> list[str]:
    """A sentence for each complete run whose options were chosen by cross-validation."""
    notes = []
    for name in experiment.runs:
        owner = owner_of(experiment, name)
        is_complete = any(places.run_folder(experiment, one) in complete for one in expanded_names(experiment, name))
        is_chosen = owner.runs[name].choose is not None and is_complete
        record = read_choice(places.folder(owner), name) if is_chosen else None
        if record is None:
            continue
        chosen = ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in record["chosen"].items())
        tried = "; ".join(
            f"{', '.join(str(value) for value in one['values'].values())}: {statistics.fmean(one['figures']):.4g}"
            for one in record["tried"]
        )
        notes.append(f"\n{name}: {chosen}, by {record['figure']} over {record['folds']} folds ({tried}).")
    return notes


def left_out_notes(experiment: Experiment, places: Places, complete: Collection[Path]) -> list[str]:
    """A sentence that names the runs that were begun and are not shown; none where there is no such run."""
    folders = {one.name: places.run_folder(experiment, one.name) for one in planned_runs(experiment, places)}
    begun = [name for name, folder in folders.items() if folder not in complete and folder.is_dir()]
    if not begun:
        return []
    why = "as they are not complete or what they were run with has changed since"
    return [f"\nNot shown, {why}: {', '.join(begun)}; run them again, or give the --data of then."]


def _shown(title: str, column: Column, labels: Sequence[str], cells: Cells) -> list[str]:
    """Cells of a column, the best in bold."""
    means = [row[title].mean for row in cells.values() if row[title].values]
    best = {"min": min, "max": max}[column.best](means) if column.best and means else None
    shown = []
    for label in labels:
        cell = cells[label][title] if label in cells else None
        is_best = cell is not None and bool(cell.values) and cell.mean == best
        shown.append(f"**{cell}**" if is_best else NOT_MEASURED if cell is None else str(cell))
    return shown


def _all_cells(
    experiment: Experiment, table: Table, places: Places, complete: Collection[Path]
) -> dict[str, dict[str, Cell]]:
    rows = {label: run_folders(experiment, named, places) for label, named in table.rows.items()}
    return {
        label: {title: _cell(column, folders, complete) for title, column in table.columns.items()}
        for label, folders in rows.items()
    }


def _cell(column: Column, folders: Sequence[Path], complete: Collection[Path]) -> Cell:
    found = [_figure(folder, column) for folder in only_complete(folders, complete)]
    values = [column.scale * value for value in found if value is not None and math.isfinite(value)]
    return Cell(values, len(folders), column.digits)


def _figure(folder: Path, column: Column) -> float | None:
    if column.file is not None:
        value: Any = _read(folder / column.file)
        for key in column.figure.split("/"):
            value = value.get(key) if isinstance(value, dict) else None
        return None if value is None else float(value)
    for name in (METRICS_NAME, FIT_METRICS_NAME):
        figures = _read(folder / name)
        if column.figure in figures:
            found: float | None = figures[column.figure]
            return found
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        figures: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}); remove it and run the experiment again.") from None
    return figures


def _csv(table: Table, labels: Sequence[str], cells: Cells) -> tuple[list[str], list[dict[str, Any]]]:
    columns, rows = ["row"], []
    for title in table.columns:
        columns += [title, f"{title} std", f"{title} runs", f"{title} paper"]
    for label in labels:
        row: dict[str, Any] = {"row": label}
        for title, cell in cells.get(label, {}).items():
            row |= {title: cell.mean if cell.values else "", f"{title} runs": len(cell.values)}
            row |= {f"{title} std": statistics.stdev(cell.values)} if len(cell.values) > 1 else {}
        row |= {f"{title} paper": value for title, value in table.paper.get(label, {}).items()}
        rows.append(row)
    return columns, rows
