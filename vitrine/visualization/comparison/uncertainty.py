"""Confidence intervals of figures, and of their differences between methods, by a paired bootstrap over images."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from vitrine.core.figures import is_class_mean
from vitrine.visualization.comparison.bootstrap import (
    Floats,
    Rows,
    bootstrap_means,
    percentile_interval,
    weighted_means,
)
from vitrine.visualization.comparison.tested_runs import RunRecord

TOLERANCE = 1e-4
"""Relative difference up to which a mean of per-image values is the figure of ``metrics.json``, often a sum in float32."""

Column = tuple[str, str]
"""Figure and method."""


@dataclass(frozen=True)
class Difference:
    """By how much a figure of one method is above that of another, over the images that both measured."""

    images: int
    value: float
    low: float
    high: float

    @property
    def within_chance(self) -> bool:
        """Whether the interval holds 0, or is not known."""
        return not (self.low > 0 or self.high < 0)

    def __neg__(self) -> "Difference":
        return Difference(self.images, -self.value, -self.high, -self.low)


@dataclass(frozen=True)
class Uncertainty:
    """Intervals and differences of all figures that have per-image values."""

    intervals: Mapping[Column, tuple[float, float]] = field(default_factory=dict)
    differences: Mapping[tuple[str, str, str], Difference] = field(default_factory=dict)
    """By figure, method and another method that comes later."""
    mismatched: Sequence[Column] = ()
    """Whose per-image values have another mean than the figure in ``metrics.json``: without intervals."""

    def difference(self, figure: str, method: str, other: str) -> Difference | None:
        """The difference of two methods in this order."""
        if (figure, other, method) in self.differences:
            return -self.differences[figure, other, method]
        return self.differences.get((figure, method, other))


def uncertainty_of(
    runs: Sequence[RunRecord], figures: Iterable[str], *, resamples: int, seed: int, confidence: float
) -> Uncertainty:
    """Intervals of the figures of each run and of all pairs of runs.

    The interval of a method is over all images that it measured, that of a difference over those that both measured. One
    image gives no interval (NaN).
    """
    numbers = {key: n for n, key in enumerate(dict.fromkeys(key for run in runs for key in run.per_image.keys))}
    measured = {
        (figure, run.name): _measured(run, figure, numbers)
        for figure in figures
        for run in runs
        if figure in run.per_image.values
    }
    mismatched = [
        column
        for run in runs
        for column, one in measured.items()
        if column[1] == run.name and not _agrees(one, run.figures.get(column[0], math.nan))
    ]
    columns = {column: one for column, one in measured.items() if column not in mismatched}
    return _intervals(columns, resamples, seed, confidence, mismatched)


@dataclass(frozen=True)
class _Measured:
    """The rows of one figure and method, and which of all images have one."""

    rows: Rows
    images: NDArray[np.bool_]

    def within(self, images: NDArray[np.bool_]) -> Rows:
        """The rows of some of the images, which are numbered anew."""
        kept = images[self.rows.image]
        number = np.cumsum(images) - 1
        group = None if self.rows.group is None else self.rows.group[kept]
        return Rows(number[self.rows.image[kept]], self.rows.value[kept], group)


def _measured(run: RunRecord, figure: str, numbers: Mapping[str, int]) -> _Measured:
    values = run.per_image.values[figure]
    has_value = ~np.isnan(values)
    image = np.array([numbers[key] for key in run.per_image.keys], dtype=np.intp)[has_value]
    group = np.unique(np.array(run.per_image.targets, dtype=object).astype(str), return_inverse=True)[1][has_value]
    images = np.zeros(len(numbers), dtype=np.bool_)
    images[image] = True
    return _Measured(Rows(image, values[has_value], group if is_class_mean(figure) else None), images)


def _agrees(measured: _Measured, figure: float) -> bool:
    """Whether the mean of the rows is the figure; where both are NaN nothing was measured."""
    mean = _mean(measured.rows, len(measured.images))
    return math.isclose(mean, figure, rel_tol=TOLERANCE, abs_tol=1e-7) or (math.isnan(mean) and math.isnan(figure))


def _mean(rows: Rows, images: int) -> float:
    return float(weighted_means([rows], np.ones((1, images)))[0, 0])


class _Resampling:
    """Resampled means of columns over sets of images, each set drawn from once for all columns."""

    def __init__(self, measured: Mapping[Column, _Measured], resamples: int, seed: int) -> None:
        self.measured, self.resamples, self.seed = measured, resamples, seed
        self.wanted: dict[bytes, dict[Column, None]] = {}
        self.means: dict[tuple[bytes, Column], Floats] = {}

    def want(self, images: NDArray[np.bool_], *columns: Column) -> None:
        self.wanted.setdefault(images.tobytes(), {}).update(dict.fromkeys(columns))

    def run(self) -> None:
        for images, columns in self.wanted.items():
            chosen = np.frombuffer(images, dtype=np.bool_)
            rows = [self.measured[column].within(chosen) for column in columns]
            means = bootstrap_means(rows, int(chosen.sum()), resamples=self.resamples, seed=self.seed)
            self.means |= {(images, column): means[:, n] for n, column in enumerate(columns)}

    def of(self, images: NDArray[np.bool_], column: Column) -> Floats:
        return self.means[images.tobytes(), column]


def _intervals(
    measured: Mapping[Column, _Measured], resamples: int, seed: int, confidence: float, mismatched: Sequence[Column]
) -> Uncertainty:
    resampling = _Resampling(measured, resamples, seed)
    alone = {column: one.images for column, one in measured.items() if one.images.any()}
    both = {(a, b): alone[a] & alone[b] for a, b in combinations(alone, 2) if a[0] == b[0]}
    both = {pair: images for pair, images in both.items() if images.any()}
    for column, images in alone.items():
        resampling.want(images, column)
    for pair, images in both.items():
        resampling.want(images, *pair)
    resampling.run()
    intervals = {
        column: _interval(resampling.of(images, column), images, confidence) for column, images in alone.items()
    }
    differences = {}
    for (a, b), images in both.items():
        count = int(images.sum())
        value = _mean(measured[a].within(images), count) - _mean(measured[b].within(images), count)
        low, high = _interval(resampling.of(images, a) - resampling.of(images, b), images, confidence)
        differences[a[0], a[1], b[1]] = Difference(count, value, low, high)
    return Uncertainty(intervals, differences, mismatched)


def _interval(resampled: Floats, images: NDArray[np.bool_], confidence: float) -> tuple[float, float]:
    return percentile_interval(resampled, confidence) if images.sum() > 1 else (math.nan, math.nan)
