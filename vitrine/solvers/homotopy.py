"""Lasso homotopy (LARS): the solution as a function of ‖w‖₁."""

from typing import NamedTuple

import numpy as np

from vitrine.solvers.active_columns import DEPENDENT, ActiveColumns
from vitrine.solvers.least_squares import Floats, Indices

_MAX_ERROR = 1e-6
_REFRESH_EVERY = 32
_MAX_STANDSTILLS = 20


class BrokenPathError(ArithmeticError):
    """The homotopy fails in float64: ties or nearly dependent columns."""


class Knot(NamedTuple):
    """A solution w at which the active set changes; between two knots the solution is linear.

    Attributes:
        norm: ‖w‖₁.
        level: λ, the largest |correlation|, that of all active columns.
        active: (k,) columns whose weights are, or are about to become, non-zero; they are linearly independent.
        values: (k,) their weights.
        signs: (k,) signs of their correlations.
    """

    norm: float
    level: float
    active: Indices
    values: Floats
    signs: Floats


class Homotopy:
    """Follows the solution path of min wᵀGw − 2bᵀw subject to ‖w‖₁ ≤ μ from one solution to larger ‖w‖₁.

    Least angle regression with the Lasso's modification (Osborne, Presnell, Turlach, A new approach to variable selection
    in least squares problems, 2000; Efron et al., Least Angle Regression, 2004): along the direction d = G_AA⁻¹ s the
    correlations of all active columns decrease equally, until another column reaches their level and is added, or a weight
    reaches 0 and its column is removed. Columns that depend on active ones are not added.

    Args:
        gram: (p, p) G.
        cross: (p,) b.
        start: the knot from which to continue.
    """

    def __init__(self, gram: Floats, cross: Floats, start: Knot) -> None:
        self.gram, self.cross = gram, cross
        self.active = ActiveColumns(gram, start.active)
        self.values, self.signs, self.level = start.values, start.signs, start.level
        self.correlations = cross - self.active.product(self.values)
        self.steps = self.standstills = 0
        self._excluded = np.zeros(len(cross), dtype=bool)
        self._excluded[start.active] = True
        self._dependent: list[int] = []
        self._removed: int | None = None

    def knot(self) -> Knot:
        """The current knot."""
        return Knot(float(np.abs(self.values).sum()), self.level, self.active.columns, self.values, self.signs)

    def step(self) -> None:
        """Moves to the next knot; at level 0 there is none, and w is a least-squares solution.

        Raises:
            BrokenPathError: where it cannot be computed in float64.
        """
        direction, slope = self._direction()
        column, length_to_add = self._next_column(slope)
        position, length_to_remove = self._next_removal(direction)
        length = min(length_to_add, length_to_remove, self.level)
        self._move(length, direction, slope)
        if self.level <= self.active.rounding(self.cross, self.values):
            self.level = 0.0
        elif length == length_to_remove:
            self._remove(position)
        else:
            self._add(column)

    def _direction(self) -> tuple[Floats, Floats]:
        """The direction d = G_AA⁻¹ s, and the decrease of each column's correlation for a unit step along it (s on A)."""
        direction, slope = self.active.solve(self.signs)
        error = np.abs(self.signs - slope[self.active.columns]).max()
        if not (error <= _MAX_ERROR and direction @ self.signs > 0):
            raise BrokenPathError
        return direction, slope

    def _next_column(self, slope: Floats) -> tuple[int, float]:
        """The first column to reach the decreasing level, and the step length at which it does."""
        positive = _ratio(self.level - self.correlations, 1 - slope)
        negative = _ratio(self.level + self.correlations, 1 + slope)
        if self._removed is not None:  # it is at the level now, and decreases faster
            (positive if self.correlations[self._removed] > 0 else negative)[self._removed] = np.inf
        both = np.minimum(positive, negative)
        both[self._excluded] = np.inf
        column = int(both.argmin())
        return column, float(both[column])

    def _next_removal(self, direction: Floats) -> tuple[int, float]:
        """The position in A of the first weight to reach 0, and the step length at which it does."""
        lengths = np.where(direction * self.signs < 0, np.abs(self.values) / np.abs(direction), np.inf)
        position = int(lengths.argmin())
        return position, float(lengths[position])

    def _move(self, length: float, direction: Floats, slope: Floats) -> None:
        self.values = self.values + length * direction
        self.correlations = self.correlations - length * slope
        self.level -= length
        self.steps += 1
        self.standstills = 0 if length > 1e-13 * self.level else self.standstills + 1
        if self.standstills > _MAX_STANDSTILLS:
            raise BrokenPathError
        if self.steps % _REFRESH_EVERY == 0:
            self._refresh()

    def _refresh(self) -> None:
        """Recomputes weights and correlations to remove accumulated rounding errors."""
        target = self.cross[self.active.columns] - self.level * self.signs
        error, _ = self.active.solve(target - self.active.product(self.values)[self.active.columns])
        self.values = self.values + error
        self.correlations = self.cross - self.active.product(self.values)

    def _remove(self, position: int) -> None:
        self._removed = int(self.active.columns[position])
        order = self.active.remove(position)
        self.values, self.signs = self.values[order], self.signs[order]
        self._excluded[[self._removed, *self._dependent]] = False
        self._dependent.clear()

    def _add(self, column: int) -> None:
        self._excluded[column] = True
        u, distance = self.active.nearest(column)
        if distance <= DEPENDENT * self.gram[column, column]:
            self._dependent.append(column)
            return
        self.active.add(column, u, distance)
        self.values = np.append(self.values, 0.0)
        self.signs = np.append(self.signs, np.sign(self.correlations[column]))
        self._removed = None


def first_knot(cross: Floats) -> Knot:
    """The solution w = 0, at which the column of the largest |correlation| is added."""
    first = int(np.abs(cross).argmax())
    return Knot(0.0, abs(float(cross[first])), np.array([first]), np.zeros(1), np.sign(cross[[first]]))


def _ratio(gap: Floats, speed: Floats) -> Floats:
    """Length after which a gap that closes at some speed is 0; infinite where it does not close."""
    return np.where(speed > 1e-12, np.maximum(gap, 0) / speed, np.inf)
