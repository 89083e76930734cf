"""Which images each class's head is fitted on: a few positives and negatives a class, as in section 4.2 of Qi et al."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


class ClassSamples:
    """For each class a draw of at most P positives and N negatives, which depends on the seed and the class alone.

    Args:
        labels: (rows,) class indices, or (rows, C) multi-hot, of a whole split.
        classes: the J explained classes.
        positives: P, images of a class; all of them without it.
        negatives: N, images that are not of it; all of them without it.
        seed: of the draw.
        candidates: rows to draw from; all of them without it.
    """

    def __init__(
        self,
        labels: NDArray[Any],
        classes: Sequence[int],
        positives: int | None = None,
        negatives: int | None = None,
        seed: int = 0,
        candidates: Rows | None = None,
    ) -> None:
        self.labels = labels
        self.classes = np.asarray(classes, dtype=np.int64)
        self.limits = {True: positives, False: negatives}
        candidates = np.arange(len(labels)) if candidates is None else np.sort(candidates)
        wanted, keys = np.zeros(len(labels), dtype=bool), []
        self.counts = np.zeros((len(self.classes), 2), dtype=np.int64)
        """(J, 2): positives and negatives drawn for each class."""
        for place, index in enumerate(classes):
            is_positive = self._are_of(candidates, np.asarray([index]))[:, 0]
            generator = np.random.default_rng([seed % 2**63, index])
            for column, positive in enumerate((True, False)):
                drawn = _draw(candidates[is_positive == positive], self.limits[positive], generator)
                self.counts[place, column] = len(drawn)
                wanted[drawn] = True
                if self.limits[positive] is not None:
                    keys.append(drawn + place * len(labels))
        self.rows: Rows = np.flatnonzero(wanted)
        """Rows drawn for any class, ascending."""
        # One sorted list of (class, row) pairs: a matrix of all rows by all classes would not fit for large sets.
        self._keys: Rows = np.sort(np.concatenate(keys)) if keys else np.zeros(0, dtype=np.int64)

    def sampled(self, rows: Rows) -> NDArray[np.bool_]:
        """(B, J): whether each of B rows, all of them candidates, was drawn for each class."""
        wanted = rows[:, None] + np.arange(len(self.classes)) * len(self.labels)
        found = np.zeros(wanted.shape, dtype=bool)
        if len(self._keys):
            places = np.searchsorted(self._keys, wanted).clip(max=len(self._keys) - 1)
            found = self._keys[places] == wanted
        for positive, limit in self.limits.items():
            if limit is None:
                found |= self._are_of(rows, self.classes) == positive
        return found

    def _are_of(self, rows: Rows, classes: Rows) -> NDArray[np.bool_]:
        """(rows, classes): whether each row is of each class."""
        rows = rows[:, None]
        positive: NDArray[np.bool_] = (
            self.labels[rows, classes] != 0 if self.labels.ndim == 2 else self.labels[rows] == classes
        )
        return positive


def _draw(rows: Rows, limit: int | None, generator: np.random.Generator) -> Rows:
    if limit is None or len(rows) <= limit:
        return rows
    return np.sort(generator.choice(rows, limit, replace=False, shuffle=False))
