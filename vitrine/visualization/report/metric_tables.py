"""Tables of metrics on pages: a dozen with direction, meaning and unit, and the others folded away."""

import math
import re
from collections.abc import Iterable, Mapping
from html import escape

from vitrine.core.figures import ARROWS, figure_of, headlines

MOST = 12
"""Figures that are shown at once."""


def metric_tables(metrics: Mapping[str, float]) -> str:
    """HTML of the figures that matter, and of all others in a closed part; nothing without a figure.

    Args:
        metrics: by their names, with or without ``test/``.
    """
    figures = {name.removeprefix("test/"): value for name, value in metrics.items()}
    first = headlines(figures, MOST)
    others = [name for name in figures if name not in first]
    folded = f"<details><summary>{_counted(len(others))}</summary>{_table(others, figures)}</details>" if others else ""
    return f'<div class="metrics">{_table(first, figures)}{folded}</div>' if figures else ""


def _counted(others: int) -> str:
    return "1 more figure" if others == 1 else f"{others} more figures"


def _table(names: Iterable[str], figures: Mapping[str, float]) -> str:
    rows = "".join(_row(name, figures[name]) for name in names)
    return f'<table class="figures"><tbody>{rows}</tbody></table>'


def _row(name: str, value: float) -> str:
    known = figure_of(name)
    better, unit, meaning = (known.better, known.unit, known.meaning) if known else ("", "", "")
    words = {"higher": "higher is better", "lower": "lower is better"}.get(better, "")
    arrow = f' <span title="{words}">{ARROWS[better]}</span>' if better else ""
    return (
        f'<tr><th scope="row" title="test/{escape(name)}">{escape(readable(name))}{arrow}</th>'
        f"<td>{number(value)}{escape(f' {unit}' if unit else '')}</td><td>{escape(meaning)}</td></tr>"
    )


def readable(name: str) -> str:
    """A figure's name in words: ``pointing_game/hit`` becomes ``pointing game, hit``."""
    return re.sub("_", " ", name.replace("/", ", "))


def number(value: float) -> str:
    """A value with four digits and a true minus."""
    return (f"{value:.4g}" if math.isfinite(value) else str(value)).replace("-", "−").replace("nan", "no value")
