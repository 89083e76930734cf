"""Linear systems on the active columns of a Gram matrix, which come and go one by one."""

import numpy as np
import torch

from vitrine.solvers.least_squares import Floats, Indices

DEPENDENT = 1e-11
"""A column whose squared distance to the span of others is at most this share of its squared length depends on them."""

_EPSILON = float(np.finfo(np.float64).eps)
_DOUBTFUL = 1e-5
_EXACT = 1e-9
_MOST_REFINEMENTS = 3


class ActiveColumns:
    """Some columns A of G = Xᵀ X, with the inverse of G_AA at hand.

    A column that joins or leaves changes the inverse by a matrix of rank one; solutions are refined, and where that does not
    help, the inverse is computed anew.

    Args:
        gram: (p, p) G.
        columns: (k,) A.
    """

    def __init__(self, gram: Floats, columns: Indices) -> None:
        self.gram = gram
        self.places = columns
        self._lengths = np.sqrt(gram.diagonal().clip(min=0))
        room = 2 * len(columns) + 32
        self._inverse, self._rows = np.empty((room, room)), np.empty((room, len(gram)))
        self._rows[: len(columns)] = gram[columns]
        self._invert()

    def product(self, values: Floats) -> Floats:
        """(p,) G w of (k,) weights on A."""
        product: Floats = values @ self._rows[: len(self.places)]
        return product

    def rounding(self, cross: Floats, values: Floats) -> float:
        """What correlations (p,) b − G w that are 0 may look like, to first order."""
        length = self._lengths[self.places] @ np.abs(values)
        return 4 * _EPSILON * float(np.abs(cross).max() + self._lengths.max() * length)

    def solve(self, right: Floats) -> tuple[Floats, Floats]:
        """The (k,) w with (G w)_A = right, and (p,) G w: as good as float64 allows, which the caller has to look at."""
        solution, product = self._refined(right)
        if not self._is_exact(right, solution, product):
            self._invert()
            solution, product = self._refined(right)
        return solution, product

    def nearest(self, column: int) -> tuple[Floats, float]:
        """The (k,) u with X_A u nearest to another column, and their squared distance."""
        inverse = self._inverse[: len(self.places), : len(self.places)]
        right, length = self.gram[column, self.places], float(self.gram[column, column])
        u = inverse @ right
        distance = length - right @ u
        if distance <= _DOUBTFUL * length:  # so small a difference needs a better u
            u = u + inverse @ (right - self.product(u)[self.places])
            distance = length - right @ u - u @ (right - self.product(u)[self.places])
        return u, float(distance)

    def join(self, column: int, u: Floats, distance: float) -> None:
        """Takes in a column, of which `nearest` said u and distance."""
        count = len(self.places)
        self._make_room(count + 1)
        _add_outer(self._inverse[:count, :count], u, 1 / distance)
        self._inverse[count, :count] = self._inverse[:count, count] = -u / distance
        self._inverse[count, count] = 1 / distance
        self._rows[count] = self.gram[column]
        self.places = np.append(self.places, column)

    def leave(self, place: int) -> Indices:
        """Lets the column at a place go; returns the (k - 1,) places that the others had, since the last one takes its."""
        last = len(self.places) - 1
        inverse, rows = self._inverse[: last + 1, : last + 1], self._rows
        column = inverse[:, place].copy()
        _add_outer(inverse, column, -1 / float(column[place]))
        inverse[place], rows[place] = inverse[last], rows[last]
        inverse[:, place] = inverse[:, last]
        order = np.arange(last)
        if place < last:
            order[place] = last
        self.places = self.places[order]
        return order

    def _refined(self, right: Floats) -> tuple[Floats, Floats]:
        inverse = self._inverse[: len(self.places), : len(self.places)]
        solution = inverse @ right
        product = self.product(solution)
        for _ in range(_MOST_REFINEMENTS):
            if self._is_exact(right, solution, product):
                break
            solution = solution + inverse @ (right - product[self.places])
            product = self.product(solution)
        return solution, product

    def _is_exact(self, right: Floats, solution: Floats, product: Floats) -> bool:
        lengths = self._lengths[self.places]
        attainable = 4 * _EPSILON * (lengths @ np.abs(solution)) * lengths
        return bool((np.abs(right - product[self.places]) <= _EXACT * np.abs(right).max() + attainable).all())

    def _invert(self) -> None:
        count = len(self.places)
        block = self._rows[:count, self.places]
        try:
            self._inverse[:count, :count] = np.linalg.inv(block)
        except np.linalg.LinAlgError:
            self._inverse[:count, :count] = np.linalg.pinv(block, hermitian=True)

    def _make_room(self, count: int) -> None:
        if count > len(self._inverse):
            inverse, rows, had = self._inverse, self._rows, count - 1
            self._inverse, self._rows = np.empty((2 * count, 2 * count)), np.empty((2 * count, rows.shape[1]))
            self._inverse[:had, :had], self._rows[:had] = inverse[:had, :had], rows[:had]


def _add_outer(matrix: Floats, vector: Floats, factor: float) -> None:
    """Adds factor · v vᵀ in place; NumPy would write it down first, which takes four times as long."""
    shared = torch.from_numpy(vector)
    torch.from_numpy(matrix).addr_(shared, shared, alpha=factor)
