"""MetricsTable: the figures that matter of a test or validation, as a table in the terminal."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from types import MappingProxyType

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn
from rich import box
from rich.table import Table
from typing_extensions import override

from callbacks.quiet_output import terminal_or_log
from callbacks.run_access import explainers_of
from vitrine.core.figures import ARROWS, COUNTS, FIGURES, Figure, better_of, grouped_figures
from vitrine.core.verbosity import is_verbose

Row = tuple[str, str, str, str]
"""Name, value, what is better, and what it measures."""


class MetricsTable(Callback):
    """Prints the figures of a test or a validation that matter, grouped, with what is better.

    `FIGURES` says which these are; those without a better side, and what each measures, are shown with ``-v``. Counts of
    what could not be measured are shown where they are not zero, and figures of metrics that it does not know are shown
    too; all are in ``metrics.json``, see `MetricsFile`. Several explainers have a row each.
    """

    @override
    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        show(trainer, "test", list(explainers_of(pl_module)))

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.VALIDATING:
            show(trainer, "val")


def show(trainer: Trainer, part: str, explainers: Sequence[str] = ()) -> None:
    """Prints the table of a part, ``test`` or ``val``, on rank zero; of several explainers a row for each."""
    # Asked for on all ranks: what Lightning has not computed by now is a collective.
    values = {name: float(value) for name, value in trainer.callback_metrics.items()}
    figures = {name.removeprefix(f"{part}/"): value for name, value in values.items() if name.startswith(f"{part}/")}
    if trainer.is_global_zero and figures:
        settings = settings_of(trainer) if part == "test" else {}
        one_table = metrics_table(part, figures, settings) if is_verbose() else metrics_lines(part, figures)
        tables = explainers_tables(explainers, figures, settings) if explainers else [one_table]
        terminal_or_log().print(*tables)


def metrics_lines(part: str, figures: Mapping[str, float]) -> Table:
    """The figures that have a better side, a line for each group, and what could not be measured.

    Args:
        part: ``test`` or ``val``.
        figures: by their names after ``part/``.
    """
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column()
    table.add_row(part, "↑ more is better, ↓ less; all figures with -v", style="bold")
    for group, rows in figure_rows(figures).items():
        shown = [_item(row) for row in rows if row[2] or group == "Others"]
        if shown:
            table.add_row(group, "   ".join(shown))
    counts = [_item(row) for row in count_rows(figures)]
    if counts:
        table.add_row("Counts", "   ".join(counts))
    return table


def _item(row: Row) -> str:
    """Name, value and direction of a row, which no line break parts."""
    name, value = row[0].strip(), row[1]
    return " ".join(filter(None, (name, value, ARROWS.get(better_of(name), "")))).replace(" ", "\N{NO-BREAK SPACE}")


def explainers_tables(
    explainers: Sequence[str], figures: Mapping[str, float], settings: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Table]:
    """A table for each group of figures that have a better side: a row for each of several explainers.

    Args:
        explainers: their names.
        figures: values by ``EXPLAINER/FIGURE``.
        settings: what is told below the table of figures whose names begin so.
    """
    of_each = {
        name: {key.removeprefix(f"{name}/"): value for key, value in figures.items() if key.startswith(f"{name}/")}
        for name in explainers
    }
    for group, names in grouped_figures(name for values in of_each.values() for name in values).items():
        compared = [name for name in names if better_of(name)]
        if not compared:
            continue
        table = Table(
            title=group,
            title_justify="left",
            caption_justify="left",
            box=box.SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
        )
        table.add_column("", no_wrap=True)
        for figure in compared:
            # In words, which a narrow terminal can break.
            table.add_column(f"{re.sub('[_/]', ' ', figure)} {ARROWS[better_of(figure)]}", justify="right")
        for name, values in of_each.items():
            if any(figure in values for figure in compared):
                table.add_row(name, *(_number(values[figure]) if figure in values else "" for figure in compared))
        table.caption = "; ".join(_told_of_explainers(compared, explainers, settings)) or None
        yield table


def _told_of_explainers(
    figures: Sequence[str], explainers: Sequence[str], settings: Mapping[str, str]
) -> Iterator[str]:
    """For each figure that has settings, what is told of it: once, or of each explainer where they differ."""
    told: dict[str, dict[str, list[str]]] = {}
    for key, text in settings.items():
        name, _, figure = key.partition("/")
        if name in explainers and any(one == figure or one.startswith(f"{figure}/") for one in figures):
            told.setdefault(figure, {}).setdefault(text, []).append(name)
    for figure, texts in told.items():
        each = list(texts) if len(texts) == 1 else [f"{text} ({', '.join(names)})" for text, names in texts.items()]
        yield f"{re.sub('[_/]', ' ', figure)}: {', '.join(each)}"


def settings_of(trainer: Trainer) -> dict[str, str]:
    """What figures depend on and their names do not tell, by the beginning of their names."""
    callbacks: Iterable[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    metrics = getattr(trainer.lightning_module, "metrics_of_explainers", {"": ()})
    told: dict[str, str] = {}
    for name, of_explainer in metrics.items():
        for teller in [*of_explainer, *callbacks]:
            settings: Mapping[str, str] = getattr(teller, "settings", {})
            told |= {f"{name}/{figure}" if name else figure: text for figure, text in settings.items()}
    return told


def metrics_table(part: str, figures: Mapping[str, float], settings: Mapping[str, str] = MappingProxyType({})) -> Table:
    """The table of figures by their names after ``part/``.

    Args:
        part: ``test`` or ``val``.
        figures: by their names.
        settings: what is told of figures whose names begin so.
    """
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column(f"{part}/", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("better", no_wrap=True)
    table.add_column("what")
    for group, rows in (*figure_rows(figures, settings).items(), ("Counts", count_rows(figures))):
        if rows:
            table.add_row(group, style="bold")
        for row in rows:
            table.add_row(*row)
    return table


def figure_rows(
    figures: Mapping[str, float], settings: Mapping[str, str] = MappingProxyType({})
) -> dict[str, list[Row]]:
    """The rows of each group, and last those of metrics that `FIGURES` does not know."""
    known = {figure.name.partition("/")[0] for group in FIGURES.values() for figure in group}
    others = [Figure(name, "", "") for name in figures if name.partition("/")[0] not in known]
    return {title: list(_rows(group, figures, settings)) for title, group in {**FIGURES, "Others": others}.items()}


def count_rows(figures: Mapping[str, float]) -> list[Row]:
    """The counts that are not zero."""
    meanings = {name: COUNTS.get(name.rpartition("/")[2], "") for name in figures if "/" in name}
    return [(f"  {name}", f"{figures[name]:g}", "", what) for name, what in meanings.items() if what and figures[name]]


def _rows(group: Iterable[Figure], figures: Mapping[str, float], settings: Mapping[str, str]) -> Iterable[Row]:
    for figure in group:
        for name, value in figures.items():
            if fnmatchcase(name, figure.name):
                told = [text for of, text in settings.items() if name == of or name.startswith(f"{of}/")]
                meaning = "; ".join(filter(None, (figure.meaning, *told)))
                yield f"  {name}", f"{_number(value)} {figure.unit}".rstrip(), figure.better, meaning


def _number(value: float) -> str:
    return "no value" if math.isnan(value) else f"{value:.4g}"
