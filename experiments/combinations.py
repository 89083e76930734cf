"""Combinations of option values, and the names of the runs that a run over them stands for."""

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

_UNFIT = re.compile(r"[^\w.=-]+")
"""What does not belong into the name of a folder."""


def grid_points(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of the values, the first option changing slowest.

    Example:
        >>> grid_points({"a": [1, 2], "b": ["x"]})
        [{'a': 1, 'b': 'x'}, {'a': 2, 'b': 'x'}]
    """
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def tag_of(point: Mapping[str, Any]) -> str:
    """The values of a combination as a part of a folder's name; empty where nothing varies."""
    return "-".join(_tag(value) for value in point.values())


def names_over(name: str, over: Mapping[str, Sequence[Any]]) -> list[str]:
    """Names of the runs that a run over values stands for; its own where nothing varies.

    Example:
        >>> names_over("srae", {"seed": [0, 1]})
        ['srae-0', 'srae-1']
    """
    tags = [tag_of(point) for point in grid_points(over)]
    return [f"{name}-{tag}" if tag else name for tag in tags]


def _tag(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return _UNFIT.sub("_", text).strip("_")
