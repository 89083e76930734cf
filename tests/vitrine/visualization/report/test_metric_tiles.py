"""Metrics of pages: a dozen at most, with direction, meaning and unit."""

import math

from vitrine.core.figures import FIGURES
from vitrine.visualization.report.metric_tiles import metric_tiles, number


def test_a_dozen_is_shown_and_the_rest_is_folded_away() -> None:
    names = [figure.name for group in FIGURES.values() for figure in group if "*" not in figure.name]
    first, _, rest = metric_tiles({f"test/{name}": 0.5 for name in names}).partition("<details>")
    assert first.count("<dt>") == 12
    assert rest.count("<dt>") == len(names) - 12
    assert f"{len(names) - 12} more figures" in rest


def test_direction_meaning_and_unit() -> None:
    text = metric_tiles({"test/iou": 43.216, "test/own/metric": float("-inf")})
    assert '<dt>iou <span title="higher is better">↑</span></dt><dd><b>43.22 %</b> area under IoU by threshold' in text
    assert "<dt>own, metric</dt><dd><b>−inf</b>" in text
    assert not metric_tiles({})


def test_numbers() -> None:
    assert [number(value) for value in (0.84371, -1.5, math.nan)] == ["0.8437", "−1.5", "no value"]
