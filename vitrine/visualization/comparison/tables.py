"""Tables of a comparison: CSV for programs, Markdown for readers, and rows for W&B."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from vitrine.core.csv_tables import write_csv_table
from vitrine.core.figures import ARROWS, better_of, figure_of
from vitrine.visualization.comparison.comparison import Comparison

Cell = str | float | None


def comparison_table(comparison: Comparison) -> tuple[list[str], list[list[Cell]]]:
    """Columns and rows of the whole table, as a W&B table takes them: a row a method, None where there is no value.

    After each figure with per-image values come the bounds of its confidence interval, ``FIGURE/low`` and ``FIGURE/high``.
    """
    columns = ["method"]
    for figure in comparison.figures:
        columns += [figure, *([f"{figure}/low", f"{figure}/high"] if _has_intervals(comparison, figure) else [])]
    rows: list[list[Cell]] = []
    for method in comparison.methods:
        values = _values(comparison, method)
        rows.append([method, *(values[column] for column in columns[1:])])
    return columns, rows


def write_comparison_csv(path: Path, comparison: Comparison) -> None:
    """Writes the whole table with all digits; what has no value is empty."""
    columns, rows = comparison_table(comparison)
    write_csv_table(path, columns, [_filled(dict(zip(columns, row, strict=True))) for row in rows])


def write_differences_csv(path: Path, comparison: Comparison) -> None:
    """Writes the differences of all pairs of methods: a row a figure and pair."""
    columns = ["figure", "method", "other", "images", "difference", "low", "high", "within_chance"]
    rows: list[list[Cell]] = [
        [figure, method, other, one.images, one.value, one.low, one.high, str(one.within_chance).lower()]
        for (figure, method, other), one in comparison.uncertainty.differences.items()
    ]
    write_csv_table(path, columns, [_filled(dict(zip(columns, row, strict=True))) for row in rows])


def markdown(comparison: Comparison, title: str, picture: str | None = None) -> str:
    """A document of one table for each group of figures, with the best marked and what is within chance of it.

    Args:
        comparison: of methods.
        title: heading of the document.
        picture: path of a picture of the examples, relative to the document.
    """
    parts = [f"# {_plain(title)}", _legend(comparison), *(f"- {_plain(note)}" for note in comparison.notes())]
    for group, figures in comparison.groups().items():
        parts += [f"## {group}", _markdown_table(comparison, figures)]
    if picture is not None:
        parts += [
            "## Images",
            f"![The same images under every method: {_plain(', '.join(comparison.methods))}]({picture})",
        ]
    return "\n\n".join(parts) + "\n"


def number(value: float, *, signed: bool = False) -> str:
    """Four significant digits; a dash where there is no value."""
    if math.isnan(value):
        return "–"
    return f"{value:{'+' if signed else ''}.4g}".replace("-", "−")


def cell_value(value: float) -> str:
    """All digits; nothing where there is no value."""
    return "" if math.isnan(value) else repr(value)


def interval_text(low: float, high: float) -> str:
    """The interval in brackets, and nothing where there is none."""
    return "" if math.isnan(low) else f"[{number(low)}, {number(high)}]"


def heading(figure: str) -> str:
    """The figure's name, an arrow where it is known what is better, and its unit."""
    known = figure_of(figure)
    return " ".join(
        filter(None, [figure, ARROWS[better_of(figure)], f"({known.unit})" if known and known.unit else ""])
    )


def _has_intervals(comparison: Comparison, figure: str) -> bool:
    return any((figure, method) in comparison.uncertainty.intervals for method in comparison.methods)


def _values(comparison: Comparison, method: str) -> dict[str, float | None]:
    values: dict[str, float | None] = {}
    for figure in comparison.figures:
        bounds = comparison.interval(method, figure)
        for column, value in zip(
            (figure, f"{figure}/low", f"{figure}/high"), (comparison.value(method, figure), *bounds), strict=True
        ):
            values.setdefault(column, None if math.isnan(value) else value)
    return values


def _filled(row: Mapping[str, Cell]) -> dict[str, Cell]:
    return {
        column: "" if value is None or (isinstance(value, float) and math.isnan(value)) else value
        for column, value in row.items()
    }


def _legend(comparison: Comparison) -> str:
    options = comparison.options
    return (
        "↑ higher is better, ↓ lower is better; **bold**: the best; ≈: its difference to the best is within chance. In"
        f" brackets: {100 * options.confidence:g} % bootstrap intervals ({options.resamples} resamples of the images)."
    )


def _markdown_table(comparison: Comparison, figures: Sequence[str]) -> str:
    lines = [["method", *(_plain(heading(figure)) for figure in figures)], ["---", *("---:" for _ in figures)]]
    lines += [
        [_plain(method), *(_markdown_cell(comparison, method, figure) for figure in figures)]
        for method in comparison.methods
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _markdown_cell(comparison: Comparison, method: str, figure: str) -> str:
    text, mark = number(comparison.value(method, figure)), comparison.mark(method, figure)
    marked = {"best": f"**{text}**", "chance": f"{text} ≈", "": text}[mark]
    return f"{marked} {interval_text(*comparison.interval(method, figure))}".rstrip()


def _plain(text: str) -> str:
    """Text in which Markdown finds nothing to format."""
    words = escape(" ".join(text.split()), quote=False)
    return "".join(f"\\{character}" if character in "\\|*`[]" else character for character in words)
