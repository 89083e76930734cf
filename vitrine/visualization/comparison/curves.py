"""Curves of several methods in one plot, as SVG: within an HTML figure, or a file of its own."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from types import MappingProxyType

from vitrine.visualization.comparison.axes import Axis, axis_of
from vitrine.visualization.comparison.tested_runs import RunCurve

WIDTH, HEIGHT = 520, 330
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 12, 46
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#a07800", "#3a9fd6", "#7a52c7", "#8a8a8a")
"""Of Okabe and Ito's, darker or lighter where both a white and a dark page have to show them."""
TITLE, ROW = 30, 18
"""Heights in a file of its own: of the title, and of a row of the legend."""
FILE_STYLE = "text { fill: #333; font: 12px sans-serif } path { fill: none; stroke-width: 2 } .rule { stroke: #ddd }"
DASHES = ("", "7 4", "2 3", "9 3 2 3")
"""After the colours are used up, they come again in the next of these."""


def curves_figure(name: str, curves: Mapping[str, RunCurve], methods: Sequence[str]) -> str:
    """A figure of one kind of curve with its legend, or nothing where no curve has a finite point.

    Args:
        name: of the kind, its heading.
        curves: by method.
        methods: all methods of the page, whose places give the looks of the lines.
    """
    points = _finite_points({method: curves[method] for method in methods if method in curves})
    if not points:
        return ""
    looks = {method: _look(methods.index(method)) for method in points}
    labels = next(iter(curves.values()))
    return f"""<figure class="curve"><figcaption><b>{escape(name)}</b></figcaption>
<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(_alt(name, labels, points))}">
{_plot(points, looks, labels, curves)}
</svg>
<ul class="legend">{"".join(_legend_entry(method, looks[method]) for method in points)}</ul></figure>"""


def curves_file(title: str, curves: Mapping[str, RunCurve]) -> str:
    """The text of an SVG file of one kind of curve, its title above and its legend below; nothing without a finite point.

    Args:
        title: of the plot.
        curves: by their labels in the legend, in its order.
    """
    points = _finite_points(curves)
    if not points:
        return ""
    looks = {method: _look(place) for place, method in enumerate(points)}
    labels = next(iter(curves.values()))
    height = TITLE + HEIGHT + ROW * len(points)
    legend = "\n".join(
        f'<path d="M{LEFT} {y - 4} h26" {looks[method]}/><text x="{LEFT + 34}" y="{y}">{escape(method)}</text>'
        for y, method in ((TITLE + HEIGHT + ROW * place + 10, method) for place, method in enumerate(points))
    )
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">
<title>{escape(_alt(title, labels, points))}</title>
<style>{FILE_STYLE}</style>
<rect width="{WIDTH}" height="{height}" fill="white"/>
<text x="{LEFT}" y="20">{escape(title)}</text>
<g transform="translate(0 {TITLE})">
{_plot(points, looks, labels)}
</g>
{legend}
</svg>
"""


Point = tuple[float, float] | None
"""None where a curve has no finite value."""


def _finite_points(curves: Mapping[str, RunCurve]) -> dict[str, list[Point]]:
    """By method, the points of its curve; nothing where no curve has a finite one."""
    points = {method: _points(curve) for method, curve in curves.items()}
    return points if any(point for of_method in points.values() for point in of_method) else {}


def _plot(
    points: Mapping[str, Sequence[Point]],
    looks: Mapping[str, str],
    labels: RunCurve,
    bands: Mapping[str, RunCurve] = MappingProxyType({}),
) -> str:
    """Axes with their labels, and lines, each over its band where it has one."""
    finite = [point for of_method in points.values() for point in of_method if point is not None]
    x_axis = axis_of([x for x, _ in finite], LEFT, WIDTH - RIGHT, may_be_logarithmic=True)
    edges = [
        y + sign * s
        for curve in bands.values()
        for y, s in zip(curve.y, curve.spread, strict=False)
        for sign in (-1, 1)
    ]
    y_axis = axis_of([y for _, y in finite] + [y for y in edges if math.isfinite(y)], HEIGHT - BOTTOM, TOP)
    bands_text = "".join(_band(bands[method], looks[method], x_axis, y_axis) for method in points if method in bands)
    lines = bands_text + "\n".join(_line(method, points[method], looks[method], x_axis, y_axis) for method in points)
    return f"""{_x_ticks(x_axis)}{_y_ticks(y_axis)}
<text x="{(LEFT + WIDTH - RIGHT) / 2:g}" y="{HEIGHT - 8}" text-anchor="middle">{escape(labels.x_label)}</text>
<text transform="translate(14 {(TOP + HEIGHT - BOTTOM) / 2:g}) rotate(-90)" text-anchor="middle">
{escape(labels.y_label)}</text>
{lines}"""


def _band(curve: RunCurve, look: str, x_axis: Axis, y_axis: Axis) -> str:
    """The standard deviation around a curve, cut off at the ends of the axis; nothing where it is not known."""
    triples = [one for one in zip(curve.x, curve.y, curve.spread, strict=False) if all(map(math.isfinite, one))]
    if not triples:
        return ""
    upper = [(x, min(y + spread, y_axis.high)) for x, y, spread in triples]
    lower = [(x, max(y - spread, y_axis.low)) for x, y, spread in reversed(triples)]
    places = " L".join(f"{x_axis.position(x):.1f},{y_axis.position(y):.1f}" for x, y in [*upper, *lower])
    colour = look.partition('"')[2].partition('"')[0]
    return f'<path class="band" d="M{places} Z" style="fill:{colour}" fill-opacity="0.15" stroke="none"/>'


def _points(curve: RunCurve) -> list[Point]:
    pairs = zip(curve.x, curve.y, strict=True)
    return [(x, y) if math.isfinite(x) and math.isfinite(y) else None for x, y in pairs]


def _look(place: int) -> str:
    """Presentation attributes of the line of a method."""
    dash = DASHES[place // len(COLOURS) % len(DASHES)]
    return f'stroke="{COLOURS[place % len(COLOURS)]}"' + (f' stroke-dasharray="{dash}"' if dash else "")


def _line(method: str, points: Sequence[Point], look: str, x_axis: Axis, y_axis: Axis) -> str:
    """The line of a method, broken where a value is missing; a point alone is a dot."""
    parts = []
    for there, run in groupby(points, key=lambda point: point is not None):
        places = [f"{x_axis.position(p[0]):.1f},{y_axis.position(p[1]):.1f}" for p in run if p is not None]
        if there:
            parts.append(f"M{' L'.join(places if len(places) > 1 else places * 2)}")
    return f'<path d="{" ".join(parts)}" {look}><title>{escape(method)}</title></path>'


def _x_ticks(axis: Axis) -> str:
    return "".join(
        f'<line class="rule" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{_tick(value)}</text>'
        for value, x in ((value, axis.position(value)) for value in axis.ticks())
    )


def _y_ticks(axis: Axis) -> str:
    return "".join(
        f'<line class="rule" y1="{y:.1f}" y2="{y:.1f}" x1="{LEFT}" x2="{WIDTH - RIGHT}"/>'
        f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_tick(value)}</text>'
        for value, y in ((value, axis.position(value)) for value in axis.ticks())
    )


def _tick(value: float) -> str:
    return f"{value:.4g}".replace("-", "−")


def _alt(name: str, labels: RunCurve, points: Mapping[str, Sequence[Point]]) -> str:
    """What the plot shows, in words: each method's first and last value."""
    ends = []
    for method, of_method in points.items():
        known = [point for point in of_method if point is not None]
        if known:
            ends.append(f"{method} from {_tick(known[0][1])} to {_tick(known[-1][1])}")
    return f"{name}: {labels.y_label or 'value'} by {labels.x_label or 'position'}. {'; '.join(ends)}."


def _legend_entry(method: str, look: str) -> str:
    swatch = f'<svg viewBox="0 0 26 10" aria-hidden="true"><path d="M1 5 H25" {look}/></svg>'
    return f"<li>{swatch}{escape(method)}</li>"
