"""Samples of each class: a few positives and negatives that its head is fitted on, as in section 4.2 of Qi et al."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodules.options import SamplingOptions

Indices = NDArray[np.int64]


class ClassSamples:
    """For each class a draw of at most P positives and N negatives, which depends on the seed and the class alone.

    Args:
        labels: (samples,) class indices, or (samples, C) multi-hot, of a whole split.
        classes: the J explained classes.
        sampling: P and N; all samples where there is no limit.
        seed: of the draw.
        candidates: rows of the samples to draw from; all of them without it.
    """

    def __init__(
        self,
        labels: NDArray[Any],
        classes: Sequence[int],
        sampling: SamplingOptions = SamplingOptions(),  # noqa: B008 - frozen
        seed: int = 0,
        candidates: Indices | None = None,
    ) -> None:
        self.labels = labels
        self.classes = np.asarray(classes, dtype=np.int64)
        self.limits = {True: sampling.positives_per_class, False: sampling.negatives_per_class}
        candidates = np.arange(len(labels)) if candidates is None else np.sort(candidates)
        is_drawn, pairs = np.zeros(len(labels), dtype=bool), []
        self.counts = np.zeros((len(self.classes), 2), dtype=np.int64)
        """(J, 2): positives and negatives drawn for each class."""
        for place, index in enumerate(classes):
            is_positive = self._are_of(candidates, np.asarray([index]))[:, 0]
            generator = np.random.default_rng([seed % 2**63, index])
            for column, positive in enumerate((True, False)):
                drawn = _draw(candidates[is_positive == positive], self.limits[positive], generator)
                self.counts[place, column] = len(drawn)
                is_drawn[drawn] = True
                if self.limits[positive] is not None:
                    pairs.append(drawn + place * len(labels))
        self.rows: Indices = np.flatnonzero(is_drawn)
        """Rows of the samples drawn for any class, ascending."""
        # One sorted list of (class, sample) pairs: a matrix of all samples by all classes would not fit for large sets.
        self._pairs: Indices = np.sort(np.concatenate(pairs)) if pairs else np.zeros(0, dtype=np.int64)

    def shortages(self) -> list[str]:
        """A sentence for each limit that the training images of a class do not reach; classes are fitted on all of these."""
        told = []
        for column, (name, positive) in enumerate((("positives_per_class", True), ("negatives_per_class", False))):
            limit, counts = self.limits[positive], self.counts[:, column]
            short = counts[counts < limit] if limit is not None else counts[:0]
            if len(short):
                least, most = int(short.min()), int(short.max())
                have = f"{least}" if least == most else f"{least} to {most}"
                told.append(
                    f"data.init_args.sampling.{name} is {limit}, and {len(short)} of {len(counts)} classes have {have} such"
                    " training images: they are fitted on all of them."
                )
        return told

    def sampled(self, rows: Indices) -> NDArray[np.bool_]:
        """(B, J): whether each of B samples, by their rows, all of them candidates, was drawn for each class."""
        asked = rows[:, None] + np.arange(len(self.classes)) * len(self.labels)
        is_sampled = np.zeros(asked.shape, dtype=bool)
        if len(self._pairs):
            places = np.searchsorted(self._pairs, asked).clip(max=len(self._pairs) - 1)
            is_sampled = self._pairs[places] == asked
        for positive, limit in self.limits.items():
            if limit is None:
                is_sampled |= self._are_of(rows, self.classes) == positive
        return is_sampled

    def _are_of(self, rows: Indices, classes: Indices) -> NDArray[np.bool_]:
        """(B, J): whether each of B samples, by their rows, is of each class."""
        rows = rows[:, None]
        positive: NDArray[np.bool_] = (
            self.labels[rows, classes] != 0 if self.labels.ndim == 2 else self.labels[rows] == classes
        )
        return positive


def _draw(rows: Indices, limit: int | None, generator: np.random.Generator) -> Indices:
    if limit is None or len(rows) <= limit:
        return rows
    return np.sort(generator.choice(rows, limit, replace=False, shuffle=False))
