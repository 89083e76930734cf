"""Metrics on pages: a dozen figures with direction, meaning and unit, and all others folded away."""

import math
from collections.abc import Iterable, Mapping
from html import escape

from vitrine.core.figures import ARROWS, figure_of, headlines

MOST = 12
"""Figures that are shown at once."""


def metric_tiles(metrics: Mapping[str, float]) -> str:
    """HTML of the figures that matter, and of all others in a closed part; nothing without a figure.

    Args:
        metrics: by their names, with or without ``test/``.
    """
    figures = {name.removeprefix("test/"): value for name, value in metrics.items()}
    first = headlines(figures, MOST)
    others = [name for name in figures if name not in first]
    folded = f"<details><summary>{_counted(len(others))}</summary>{_tiles(others, figures)}</details>" if others else ""
    return _tiles(first, figures) + folded if figures else ""


def _counted(others: int) -> str:
    return "1 more figure" if others == 1 else f"{others} more figures"


def _tiles(names: Iterable[str], figures: Mapping[str, float]) -> str:
    return f'<dl class="figures">{"".join(_tile(name, figures[name]) for name in names)}</dl>'


def _tile(name: str, value: float) -> str:
    known = figure_of(name)
    better, unit, meaning = (known.better, known.unit, known.meaning) if known else ("", "", "")
    arrow = f' <span title="{better} is better">{ARROWS[better]}</span>' if better else ""
    return (
        f'<div title="{escape(name)}"><dt>{escape(readable(name))}{arrow}</dt>'
        f"<dd><b>{number(value)}{escape(f' {unit}' if unit else '')}</b> {escape(meaning)}</dd></div>"
    )


def readable(name: str) -> str:
    """A figure's name in words.

    Example:
        >>> readable("energy_in_mask/area")
        'energy in mask, area'
    """
    return name.replace("/", ", ").replace("_", " ")


def number(value: float) -> str:
    """A value with four digits and a true minus; in words where there is none."""
    if math.isnan(value):
        return "no value"
    return (f"{value:.4g}" if math.isfinite(value) else str(value)).replace("-", "−")
