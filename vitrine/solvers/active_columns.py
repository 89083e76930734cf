"""Linear systems on the active columns of a Gram matrix, with rank-one updates as columns are added and removed."""

import numpy as np
import torch

from vitrine.solvers.least_squares import Floats, Indices

DEPENDENT = 1e-11
"""A column depends linearly on others if its squared distance to their span is at most this share of its squared norm."""

_EPSILON = float(np.finfo(np.float64).eps)
_INACCURATE = 1e-5
_EXACT = 1e-9
_MAX_REFINEMENTS = 3


class ActiveColumns:
    """A set A of columns of G = Xᵀ X with the inverse of G_AA.

    Adding or removing a column updates the inverse by a matrix of rank one. Solutions are refined iteratively; where that
    does not make them accurate, the inverse is recomputed.

    Args:
        gram: (p, p) G.
        columns: (k,) A.
    """

    def __init__(self, gram: Floats, columns: Indices) -> None:
        self.gram = gram
        self.columns = columns
        self._lengths = np.sqrt(gram.diagonal().clip(min=0))
        capacity = 2 * len(columns) + 32
        self._inverse, self._rows = np.empty((capacity, capacity)), np.empty((capacity, len(gram)))
        self._rows[: len(columns)] = gram[columns]
        self._invert()

    def product(self, values: Floats) -> Floats:
        """(p,) G w of (k,) weights on A."""
        product: Floats = values @ self._rows[: len(self.columns)]
        return product

    def rounding(self, cross: Floats, values: Floats) -> float:
        """Bound of the rounding error of the correlations (p,) b − G w, to first order."""
        length = self._lengths[self.columns] @ np.abs(values)
        return 4 * _EPSILON * float(np.abs(cross).max() + self._lengths.max() * length)

    def solve(self, right: Floats) -> tuple[Floats, Floats]:
        """The (k,) w with (G w)_A = right, and (p,) G w; as accurate as float64 allows, which the caller has to check."""
        solution, product = self._refined(right)
        if not self._is_exact(right, solution, product):
            self._invert()
            solution, product = self._refined(right)
        return solution, product

    def nearest(self, column: int) -> tuple[Floats, float]:
        """The (k,) u with X_A u nearest to another column, and the squared distance of the two."""
        inverse = self._inverse[: len(self.columns), : len(self.columns)]
        right, length = self.gram[column, self.columns], float(self.gram[column, column])
        u = inverse @ right
        distance = length - right @ u
        if distance <= _INACCURATE * length:  # a difference this small needs a more accurate u
            u = u + inverse @ (right - self.product(u)[self.columns])
            distance = length - right @ u - u @ (right - self.product(u)[self.columns])
        return u, float(distance)

    def add(self, column: int, u: Floats, distance: float) -> None:
        """Adds a column to A, with u and distance from `nearest`."""
        count = len(self.columns)
        self._reserve(count + 1)
        _add_outer(self._inverse[:count, :count], u, 1 / distance)
        self._inverse[count, :count] = self._inverse[:count, count] = -u / distance
        self._inverse[count, count] = 1 / distance
        self._rows[count] = self.gram[column]
        self.columns = np.append(self.columns, column)

    def remove(self, position: int) -> Indices:
        """Removes a column of A; the last one takes its position. Returns the (k − 1,) old positions of those that stay."""
        last = len(self.columns) - 1
        inverse, rows = self._inverse[: last + 1, : last + 1], self._rows
        column = inverse[:, position].copy()
        _add_outer(inverse, column, -1 / float(column[position]))
        inverse[position], rows[position] = inverse[last], rows[last]
        inverse[:, position] = inverse[:, last]
        order = np.arange(last)
        if position < last:
            order[position] = last
        self.columns = self.columns[order]
        return order

    def _refined(self, right: Floats) -> tuple[Floats, Floats]:
        inverse = self._inverse[: len(self.columns), : len(self.columns)]
        solution = inverse @ right
        product = self.product(solution)
        for _ in range(_MAX_REFINEMENTS):
            if self._is_exact(right, solution, product):
                break
            solution = solution + inverse @ (right - product[self.columns])
            product = self.product(solution)
        return solution, product

    def _is_exact(self, right: Floats, solution: Floats, product: Floats) -> bool:
        lengths = self._lengths[self.columns]
        attainable = 4 * _EPSILON * (lengths @ np.abs(solution)) * lengths
        return bool((np.abs(right - product[self.columns]) <= _EXACT * np.abs(right).max() + attainable).all())

    def _invert(self) -> None:
        count = len(self.columns)
        block = self._rows[:count, self.columns]
        try:
            self._inverse[:count, :count] = np.linalg.inv(block)
        except np.linalg.LinAlgError:
            self._inverse[:count, :count] = np.linalg.pinv(block, hermitian=True)

    def _reserve(self, count: int) -> None:
        if count > len(self._inverse):
            inverse, rows, old = self._inverse, self._rows, count - 1
            self._inverse, self._rows = np.empty((2 * count, 2 * count)), np.empty((2 * count, rows.shape[1]))
            self._inverse[:old, :old], self._rows[:old] = inverse[:old, :old], rows[:old]


def _add_outer(matrix: Floats, vector: Floats, factor: float) -> None:
    """Adds factor · v vᵀ in place; NumPy would allocate the product first and take four times as long."""
    shared = torch.from_numpy(vector)
    torch.from_numpy(matrix).addr_(shared, shared, alpha=factor)
