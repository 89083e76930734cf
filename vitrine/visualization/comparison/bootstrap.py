"""Percentile bootstrap over images: resampled means of rows, and of classes.

Images are drawn with replacement, and all rows of an image are drawn together: rows of one image are not independent. All
columns of one call see the same draws, so that their differences are those of a paired bootstrap.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
CHUNK = 4_000_000
"""Draws that are held at a time."""


@dataclass(frozen=True)
class Rows:
    """The rows of one figure of one method.

    Args:
        image: (R,) number of each row's image, in [0, images).
        value: (R,) finite values.
        group: (R,) number of each row's class where the figure is a mean over classes; without it, it is one over rows.
    """

    image: NDArray[np.intp]
    value: Floats
    group: NDArray[np.intp] | None = None


def bootstrap_means(columns: Sequence[Rows], images: int, *, resamples: int, seed: int) -> Floats:
    """The means of each column over resampled images: (resamples, columns).

    A mean over classes is one over the classes with a row among the drawn images. It is NaN where no row was drawn.

    Args:
        columns: the rows of each figure and method.
        images: how many images there are, N; each resample draws N of them.
        resamples: how many times.
        seed: of the draws, which depend on it, ``images`` and ``resamples`` alone.
    """
    chunks = (weighted_means(columns, weights) for weights in _draws(images, resamples, seed))
    return np.concatenate([np.empty((0, len(columns))), *chunks])


def weighted_means(columns: Sequence[Rows], weights: Floats) -> Floats:
    """The means of each column (W, columns), where images count ``weights`` (W, N) times."""
    alike: dict[tuple[bytes, bytes] | None, list[int]] = {}
    for number, rows in enumerate(columns):
        alike.setdefault(None if rows.group is None else (rows.image.tobytes(), rows.group.tobytes()), []).append(
            number
        )
    means = np.empty((len(weights), len(columns)))
    for numbers in alike.values():
        of_kind = [columns[number] for number in numbers]
        group = of_kind[0].group
        means[:, numbers] = (
            _means_over_rows(of_kind, weights) if group is None else _means_over_groups(of_kind, group, weights)
        )
    return means


def percentile_interval(resampled: Floats, confidence: float) -> tuple[float, float]:
    """The bounds between which so large a share of resampled values lies; NaN where there are none.

    Example:
        >>> percentile_interval(np.arange(101.0), 0.5)
        (25.0, 75.0)
    """
    values = resampled[~np.isnan(resampled)]
    if not len(values):
        return np.nan, np.nan
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _draws(images: int, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each image is drawn, (W, N) for some resamples at a time."""
    generator = np.random.default_rng([seed, images])
    step = max(1, CHUNK // max(images, 1))
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        drawn = generator.integers(images, size=(count, images)) + images * np.arange(count)[:, None]
        yield np.bincount(drawn.ravel(), minlength=count * images).reshape(count, images).astype(np.float64)


def _means_over_rows(columns: Sequence[Rows], weights: Floats) -> Floats:
    images = weights.shape[1]
    sums = np.array([np.bincount(rows.image, rows.value, images) for rows in columns])
    counts = np.array([np.bincount(rows.image, minlength=images) for rows in columns])
    return _divided(weights @ sums.T, weights @ counts.T)


def _means_over_groups(columns: Sequence[Rows], group: NDArray[np.intp], weights: Floats) -> Floats:
    """The means of columns whose rows are of the same images and classes."""
    order = np.argsort(group, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(group[order])) + 1, len(order))
    values = np.stack([rows.value for rows in columns], axis=1)[order]
    of_row = weights[:, columns[0].image[order]]
    totals, classes = np.zeros((len(weights), len(columns))), np.zeros((len(weights), 1))
    for start, end in pairwise([0, *ends]):
        counts = of_row[:, start:end].sum(axis=1, keepdims=True)
        totals += np.nan_to_num(_divided(of_row[:, start:end] @ values[start:end], counts))
        classes += counts > 0
    return _divided(totals, classes)


def _divided(sums: Floats, counts: NDArray[Any]) -> Floats:
    """Quotients, NaN where nothing was counted."""
    quotients = np.full(sums.shape, np.nan)
    np.divide(sums, counts, out=quotients, where=counts > 0)
    return quotients
