"""SVG filters that draw heatmap layers in the browser: colours, contours and masks of a strength kept as opacity."""

import numpy as np
import torch

from vitrine.visualization.colour_map import NEGATIVE, OPACITY_EXPONENT, POSITIVE, colours
from vitrine.visualization.layers import DARKNESS, LEVELS

STEPS = 33
"""Entries of the table of the colour map; between them browsers interpolate."""


def filters() -> str:
    """An SVG element with the filters ``heat``, ``signed``, ``contour`` and ``mask``, for pages to refer to."""
    return f"""<svg class="filters" width="0" height="0" aria-hidden="true">
{_filter("heat", _SPREAD + _transfer(_table_functions() + _GAMMA))}
{_filter("signed", _transfer(_GAMMA))}
{_filter("contour", "".join(_contour(level) for level in LEVELS) + _merged())}
{_filter("mask", '<feFlood flood-color="black" result="black"/>' + _darkened())}
</svg>"""


def bar(*, signed: bool) -> str:
    """CSS of the colour bar: a gradient from 0 to 1, or from −1 to 1."""
    if signed:
        sides = [f"rgb({' '.join(map(str, colour))} / {{}})" for colour in (NEGATIVE, POSITIVE)]
        places = [abs(n) / 8 for n in range(-8, 9)]
        stops = [sides[n > 8].format(round(place**OPACITY_EXPONENT, 3)) for n, place in enumerate(places)]
    else:
        values = torch.linspace(0, 1, 17)
        pairs = zip(colours(values).tolist(), values.tolist(), strict=True)
        stops = [f"rgb({r} {g} {b} / {round(value**OPACITY_EXPONENT, 3)})" for (r, g, b), value in pairs]
    return f"linear-gradient(to right, {', '.join(stops)})"


_GAMMA = f'<feFuncA type="gamma" exponent="{OPACITY_EXPONENT}"/>'
_SPREAD = '<feColorMatrix values="0 0 0 1 0  0 0 0 1 0  0 0 0 1 0  0 0 0 1 0"/>'
"""Red, green and blue become the opacity, of which the tables make colours."""


def _filter(name: str, body: str) -> str:
    return f'<filter id="{name}" x="0" y="0" width="1" height="1" color-interpolation-filters="sRGB">{body}</filter>'


def _transfer(functions: str, attributes: str = "") -> str:
    return f"<feComponentTransfer{attributes}>{functions}</feComponentTransfer>"


def _table_functions() -> str:
    table = colours(torch.linspace(0, 1, STEPS)) / 255
    return "".join(
        f'<feFunc{channel} type="table" tableValues="{" ".join(f"{value:.3f}" for value in column)}"/>'
        for channel, column in zip("RGB", np.asarray(table).T, strict=True)
    )


def _contour(level: float) -> str:
    """A line around the places above a level, whose colour is that of the level."""
    count = 100
    inside = " ".join("1" if step >= level * count else "0" for step in range(count))
    name, red = f"level{round(100 * level)}", " ".join(map(str, colours(torch.tensor(level)).tolist()))
    return (
        _transfer(f'<feFuncA type="discrete" tableValues="{inside}"/>', f' in="SourceGraphic" result="{name}"')
        + f'<feMorphology in="{name}" operator="dilate" radius="1" result="wide"/>'
        + f'<feComposite in="wide" in2="{name}" operator="out" result="line"/>'
        + f'<feFlood flood-color="rgb({red.replace(" ", ",")})"/>'
        + f'<feComposite in2="line" operator="in" result="{name}line"/>'
    )


def _merged() -> str:
    nodes = "".join(f'<feMergeNode in="level{round(100 * level)}line"/>' for level in LEVELS)
    return f"<feMerge>{nodes}</feMerge>"


def _darkened() -> str:
    function = f'<feFuncA type="table" tableValues="{DARKNESS} 0"/>'
    return _transfer(function, ' in="SourceGraphic" result="rest"') + (
        '<feComposite in="black" in2="rest" operator="in"/>'
    )
