"""The table of a sweep's runs, the best first: for the terminal, as CSV, Markdown and HTML."""

import math
import os
from collections.abc import Sequence
from html import escape
from pathlib import Path

from rich import box
from rich.table import Table

from vitrine.core.atomic_io import atomic_file
from vitrine.core.csv_tables import write_csv_table
from vitrine.core.figures import better_of
from vitrine.sweep.run import SweepRun
from vitrine.sweep.settings import short_names
from vitrine.sweep.sweep_file import SweepFile

NAME = "sweep"
MOST = 5
"""So many figures are shown beside the metric; the CSV has all."""
STYLE = """
body {font: 15px/1.5 system-ui, sans-serif; margin: 2rem; color: #1f2328; background: #fff}
table {border-collapse: collapse} th, td {padding: .3rem .8rem; border-bottom: 1px solid #d0d7de; text-align: right}
th:last-child, td:last-child {text-align: left} tbody tr:first-child {background: #dafbe1}
@media (prefers-color-scheme: dark) {body {color: #e6edf3; background: #0d1117} tbody tr:first-child {background: #12361f}}
"""


def ordered(runs: Sequence[SweepRun], sweep: SweepFile) -> list[SweepRun]:
    """The runs by the sweep's metric, the best first; those without a value, such as failed ones, last."""

    def place(run: SweepRun) -> tuple[bool, float]:
        value = run.figures().get(sweep.metric) if run.state.status == "finished" else None
        known = value is not None and math.isfinite(value)
        return not known, (value if sweep.smaller else -value) if known and value is not None else 0.0

    return sorted(runs, key=place)


def shown_figures(runs: Sequence[SweepRun], sweep: SweepFile) -> list[str]:
    """The metric, and a few more figures of validation and test that have a better side."""
    found = dict.fromkeys(name for run in runs for name in run.figures())
    others = [
        name
        for name in found
        if name != sweep.metric and not name.startswith("train/") and better_of(name.partition("/")[2])
    ]
    return [*filter(None, [sweep.metric]), *others[:MOST]]


def rows_of(runs: Sequence[SweepRun], figures: Sequence[str]) -> list[list[str]]:
    """Cells of each run: parameters, figures, status, folder; without the header."""
    rows = []
    for run in runs:
        values = run.figures()
        parameters = [_text(value) for value in run.parameters.values()]
        cells = [_text(values[name]) if values.get(name) is not None else "" for name in figures]
        rows.append([*parameters, *cells, run.state.status, f"{run.state.seconds:.0f}", run.state.error])
    return rows


def header(runs: Sequence[SweepRun], figures: Sequence[str]) -> list[str]:
    """The columns of `rows_of`."""
    names = list(runs[0].parameters) if runs else []
    return [*short_names(names).values(), *figures, "status", "seconds", "error"]


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def terminal_table(runs: Sequence[SweepRun], sweep: SweepFile) -> Table:
    """The table for a terminal: the figures of each run by its folder's name, which says its values."""
    figures = shown_figures(runs, sweep)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("run", overflow="fold")
    for column in (*figures, "status", "seconds"):
        table.add_column(column, justify="right", overflow="fold")
    for run, row in zip(runs, rows_of(runs, figures), strict=True):
        table.add_row(run.folder.name, *row[len(run.parameters) : -1])
    return table


def write_tables(out: Path, runs: Sequence[SweepRun], sweep: SweepFile) -> Path:
    """Writes ``sweep.csv`` with all figures, ``sweep.md`` and ``sweep.html``; returns the page."""
    every = sorted({name for run in runs for name in run.figures()})
    figures, names = shown_figures(runs, sweep), list(runs[0].parameters) if runs else []
    records = [
        {**run.parameters, **run.figures(), "status": run.state.status, "seconds": run.state.seconds,
         "error": run.state.error, "folder": str(run.folder)} for run in runs
    ]  # fmt: skip
    with atomic_file(out / f"{NAME}.csv") as partial:
        write_csv_table(partial, [*names, *every, "status", "seconds", "error", "folder"], records)
    columns, rows = [*header(runs, figures), "folder"], rows_of(runs, figures)
    links = [os.path.relpath(run.folder, out) for run in runs]
    with atomic_file(out / f"{NAME}.md") as partial:
        partial.write_text(_markdown(columns, rows, links), encoding="utf-8")
    with atomic_file(out / f"{NAME}.html") as partial:
        partial.write_text(_page(sweep, columns, rows, [_entry(out, link) for link in links]), encoding="utf-8")
    return out / f"{NAME}.html"


def _entry(out: Path, link: str) -> str:
    """What a run's link opens: its own page, or its folder."""
    pages = (f"{link}/index.html", f"{link}/report/index.html")
    return next((page for page in pages if (out / page).is_file()), f"{link}/")


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]], links: Sequence[str]) -> str:
    lines = [columns, ["---"] * len(columns)]
    lines += [[*row, f"[{link}]({link})"] for row, link in zip(rows, links, strict=True)]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def _page(sweep: SweepFile, columns: Sequence[str], rows: Sequence[Sequence[str]], links: Sequence[str]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}"
        f'<td><a href="{escape(link, quote=True)}">{escape(link)}</a></td></tr>\n'
        for row, link in zip(rows, links, strict=True)
    )
    order = f"The best first by {escape(sweep.metric)}, {'smaller' if sweep.smaller else 'larger'} is better."
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(sweep.path.stem)}</title><style>{STYLE}</style>'
        f"<h1>{escape(sweep.path.stem)}</h1><p>{order if sweep.metric else ''}</p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></html>\n"
    )
