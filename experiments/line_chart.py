"""Line charts as SVG: axes with round ticks, a line for each label, a legend."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

COLOURS = ("#1b6ca8", "#d1495b", "#2e8b57", "#e08e0b", "#6a4c93", "#00798c", "#8d6346", "#5c5c5c", "#b5179e", "#7a9e00")
WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 170, 36, 48
"""Margins in pixels; the legend stands in the right one."""


@dataclass(frozen=True)
class Line:
    """Points of a line, from left to right; None where there is none."""

    x: Sequence[float]
    y: Sequence[float | None]

    def points(self) -> list[tuple[float, float] | None]:
        """Points that are finite; None for others, where the line is broken."""
        return [
            (x, y) if y is not None and math.isfinite(x) and math.isfinite(y) else None
            for x, y in zip(self.x, self.y, strict=True)
        ]


@dataclass(frozen=True)
class Scale:
    """Maps values to pixels.

    Args:
        ticks: round values, the first and the last at the ends.
        start: pixel of the first.
        end: pixel of the last.
    """

    ticks: Sequence[float]
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        share = (value - self.ticks[0]) / (self.ticks[-1] - self.ticks[0])
        return self.start + share * (self.end - self.start)


def line_chart(lines: Mapping[str, Line], title: str, x_label: str, y_label: str) -> str:
    """The SVG text of a chart.

    Args:
        lines: by their labels in the legend, in its order.
        title: above the chart.
        x_label: below it.
        y_label: at its left.
    """
    points = [point for line in lines.values() for point in line.points() if point is not None]
    across = Scale(round_ticks([x for x, _ in points]), LEFT, WIDTH - RIGHT)
    up = Scale(round_ticks([y for _, y in points]), HEIGHT - BOTTOM, TOP)
    parts = [*_axes(across, up), _text(LEFT, 20, title, "start", 13)]
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x_label))
    parts.append(f'<g transform="translate(14 {(HEIGHT + TOP - BOTTOM) / 2}) rotate(-90)">{_text(0, 0, y_label)}</g>')
    for number, (label, line) in enumerate(lines.items()):
        colour, y = COLOURS[number % len(COLOURS)], TOP + 10 + 18 * number
        parts += _strokes(line, across, up, colour)
        parts.append(f'<path d="M{WIDTH - RIGHT + 10} {y}h20" stroke="{colour}" stroke-width="3"/>')
        parts.append(_text(WIDTH - RIGHT + 36, y + 4, label, "start"))
    style = 'font-family="sans-serif" font-size="11" fill="none"'
    body = "\n".join(parts)
    frame = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {style}>\n{frame}\n{body}\n</svg>\n'


def round_ticks(values: Sequence[float], count: int = 5) -> list[float]:
    """Round numbers, evenly apart, that hold all values.

    Example:
        >>> round_ticks([0.02, 0.97])
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    least, most = (min(values), max(values)) if values else (0.0, 1.0)
    if most - least <= 1e-12 * max(abs(least), abs(most), 1e-300):
        margin = abs(least) or 1.0
        least, most = least - margin / 2, most + margin / 2
    rough = (most - least) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(least / step + 1e-9), math.ceil(most / step - 1e-9)
    return [float(f"{place * step:.12g}") for place in range(first, last + 1)]


def _axes(across: Scale, up: Scale) -> list[str]:
    parts = []
    for value in across.ticks:
        x = across(value)
        parts.append(f'<path d="M{x:.1f} {up.start}V{up.end}" stroke="#e4e4e4"/>')
        parts.append(_text(x, up.start + 16, f"{value:g}"))
    for value in up.ticks:
        y = up(value)
        parts.append(f'<path d="M{across.start} {y:.1f}H{across.end}" stroke="#e4e4e4"/>')
        parts.append(_text(across.start - 6, y + 4, f"{value:g}", "end"))
    return parts


def _strokes(line: Line, across: Scale, up: Scale, colour: str) -> list[str]:
    strokes = []
    for is_there, group in groupby(line.points(), key=lambda point: point is not None):
        if is_there:
            places = " ".join(f"{across(point[0]):.1f},{up(point[1]):.1f}" for point in group if point is not None)
            strokes.append(f'<polyline points="{places}" stroke="{colour}" stroke-width="1.8"/>')
    return strokes


def _text(x: float, y: float, text: str, anchor: str = "middle", size: int = 11) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="#222">{escape(text)}</text>'
