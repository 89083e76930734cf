"""HTML tables of a comparison: its figures, which can be sorted, the differences of all pairs, and the runs' settings."""

from collections.abc import Iterable, Mapping
from html import escape

from vitrine.core.figures import better_of, figure_of
from vitrine.visualization.comparison.comparison import Comparison
from vitrine.visualization.comparison.tables import cell_value, heading, interval_text, number


def figures_table(comparison: Comparison) -> str:
    """A row a method and a column a figure, sorted by the buttons in its head; nothing without a figure to show."""
    groups = comparison.groups()
    figures = [figure for group in groups.values() for figure in group]
    titles = "".join(
        f'<th scope="colgroup" colspan="{len(group)}">{escape(title)}</th>' for title, group in groups.items()
    )
    heads = "".join(_head(comparison, figure, column) for column, figure in enumerate(figures, start=1))
    rows = {method: "".join(_value(comparison, method, figure) for figure in figures) for method in comparison.methods}
    head = f"""<tr class="group"><td></td>{titles}</tr>
<tr><th scope="col"><button type="button" data-column="0" data-first="text">method</button></th>{heads}</tr>"""
    return _table(head, rows, kind="values sortable") if figures else ""


def difference_tables(comparison: Comparison) -> str:
    """For each figure a matrix of the differences of all pairs, row minus column; nothing without per-image values."""
    matrices = [_matrix(comparison, figure) for group in comparison.groups().values() for figure in group]
    return "\n".join(filter(None, matrices))


def settings_table(comparison: Comparison) -> str:
    """What each run says of itself: a row a setting, a column a method."""
    settings = {
        run.name: {"explain": run.explain, **run.settings, "folder": str(run.folder)} for run in comparison.runs
    }
    names = dict.fromkeys(name for of_run in settings.values() for name, value in of_run.items() if value)
    rows = {name: "".join(_text(of_run.get(name, "")) for of_run in settings.values()) for name in names}
    return _folded("Settings of each run", _table(_heads(settings), rows))


def _table(head: str, rows: Mapping[str, str], kind: str = "values") -> str:
    """A table that scrolls sideways, of rows of cells by their heads."""
    body = "\n".join(
        f'<tr><th scope="row" data-value="{escape(name)}">{escape(name)}</th>{cells}</tr>'
        for name, cells in rows.items()
    )
    return f"""<div class="wide"><table class="{kind}"><thead>{head}</thead>
<tbody>
{body}
</tbody></table></div>"""


def _folded(summary: str, body: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>\n{body}</details>"


def _heads(methods: Iterable[str]) -> str:
    heads = "".join(f'<th scope="col">{escape(method)}</th>' for method in methods)
    return f"<tr><td></td>{heads}</tr>"


def _text(text: str) -> str:
    return f'<td class="text">{escape(text)}</td>'


def _head(comparison: Comparison, figure: str, column: int) -> str:
    first = "ascending" if better_of(figure) == "lower" else "descending"
    known = figure_of(figure)
    meaning = f' title="{escape(known.meaning)}"' if known else ""
    sorted_by = (comparison.options.sort or "").removeprefix("test/") == figure
    order = f' aria-sort="{first}"' if sorted_by else ""
    return (
        f'<th scope="col"{order}><button type="button" data-column="{column}" data-first="{first}"{meaning}>'
        f"{escape(heading(figure))}</button></th>"
    )


def _value(comparison: Comparison, method: str, figure: str) -> str:
    value, mark = comparison.value(method, figure), comparison.mark(method, figure)
    best = ' class="best"' if mark == "best" else ""
    near = ' <span title="within chance of the best">≈</span>' if mark == "chance" else ""
    interval = _small(interval_text(*comparison.interval(method, figure)))
    return f'<td{best} data-value="{cell_value(value)}">{number(value)}{near}{interval}</td>'


def _small(text: str) -> str:
    return f"<small>{text}</small>" if text else ""


def _matrix(comparison: Comparison, figure: str) -> str:
    pairs = [(method, other) for name, method, other in comparison.uncertainty.differences if name == figure]
    methods = [method for method in comparison.methods if any(method in pair for pair in pairs)]
    rows = {method: "".join(_difference(comparison, figure, method, other) for other in methods) for method in methods}
    return _folded(heading(figure), _table(_heads(methods), rows)) if methods else ""


def _difference(comparison: Comparison, figure: str, method: str, other: str) -> str:
    one = None if method == other else comparison.uncertainty.difference(figure, method, other)
    if one is None:
        return "<td></td>"
    kind, near = ("chance", " ≈") if one.within_chance else ("apart", "")
    interval = _small(interval_text(one.low, one.high))
    images = "1 image" if one.images == 1 else f"{one.images} images"
    return f'<td class="{kind}" title="{images}">{number(one.value, signed=True)}{near}{interval}</td>'
