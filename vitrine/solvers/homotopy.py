"""The homotopy of the Lasso: how the solution changes while ‖w‖₁ grows."""

from typing import NamedTuple

import numpy as np

from vitrine.solvers.active_columns import DEPENDENT, ActiveColumns
from vitrine.solvers.least_squares import Floats, Indices

_TOLERABLE = 1e-6
_REFRESH_EVERY = 32
_MOST_STANDSTILLS = 20


class BrokenPathError(ArithmeticError):
    """Rounding has the better of the homotopy: ties or nearly dependent columns."""


class Knot(NamedTuple):
    """An optimal w, at which the set of non-zero weights changes; between two knots the solution is linear.

    Attributes:
        norm: ‖w‖₁.
        level: λ, the largest |correlation|, that of all active columns.
        active: (k,) columns that are, or are about to be, non-zero; they do not depend on each other.
        values: (k,) their weights.
        signs: (k,) signs of their correlations.
    """

    norm: float
    level: float
    active: Indices
    values: Floats
    signs: Floats


class Homotopy:
    """Follows the path of min wᵀGw − 2bᵀw subject to ‖w‖₁ ≤ μ from an optimal w to larger ‖w‖₁.

    Least angle regression with the Lasso's modification (Osborne, Presnell, Turlach, A new approach to variable selection
    in least squares problems, 2000; Efron et al., Least Angle Regression, 2004): along the direction d = G_AA⁻¹ s the
    correlations of all active columns fall alike, until another column reaches their level and joins, or a weight
    reaches 0 and its column leaves. Columns that depend on active ones are refused.

    Args:
        gram: (p, p) G.
        cross: (p,) b.
        start: where the path goes on.
    """

    def __init__(self, gram: Floats, cross: Floats, start: Knot) -> None:
        self.gram, self.cross = gram, cross
        self.active = ActiveColumns(gram, start.active)
        self.values, self.signs, self.level = start.values, start.signs, start.level
        self.correlations = cross - self.active.product(self.values)
        self.steps = self.standstills = 0
        self._barred = np.zeros(len(cross), dtype=bool)
        self._barred[start.active] = True
        self._refused: list[int] = []
        self._left: int | None = None

    def knot(self) -> Knot:
        """Where the path stands."""
        return Knot(float(np.abs(self.values).sum()), self.level, self.active.places, self.values, self.signs)

    def step(self) -> None:
        """Goes on to the next knot; at level 0 there is none, and w is a least-squares solution.

        Raises:
            BrokenPathError: there is no way on in float64.
        """
        direction, slope = self._direction()
        joining, distance = self._next_joining(slope)
        leaving, shorter = self._next_leaving(direction)
        length = min(distance, shorter, self.level)
        self._move(length, direction, slope)
        if self.level <= self.active.rounding(self.cross, self.values):
            self.level = 0.0
        elif length == shorter:
            self._leave(leaving)
        else:
            self._join(joining)

    def _direction(self) -> tuple[Floats, Floats]:
        """The direction d = G_AA⁻¹ s, and what a unit along it takes from every column's correlation: s on A."""
        direction, slope = self.active.solve(self.signs)
        error = np.abs(self.signs - slope[self.active.places]).max()
        if not (error <= _TOLERABLE and direction @ self.signs > 0):
            raise BrokenPathError
        return direction, slope

    def _next_joining(self, slope: Floats) -> tuple[int, float]:
        """The column that reaches the falling level first, and after which length."""
        positive = _ratio(self.level - self.correlations, 1 - slope)
        negative = _ratio(self.level + self.correlations, 1 + slope)
        if self._left is not None:  # it stands at the level, and falls faster
            (positive if self.correlations[self._left] > 0 else negative)[self._left] = np.inf
        both = np.minimum(positive, negative)
        both[self._barred] = np.inf
        joining = int(both.argmin())
        return joining, float(both[joining])

    def _next_leaving(self, direction: Floats) -> tuple[int, float]:
        """The place in A of the weight that reaches 0 first, and after which length."""
        lengths = np.where(direction * self.signs < 0, np.abs(self.values) / np.abs(direction), np.inf)
        leaving = int(lengths.argmin())
        return leaving, float(lengths[leaving])

    def _move(self, length: float, direction: Floats, slope: Floats) -> None:
        self.values = self.values + length * direction
        self.correlations = self.correlations - length * slope
        self.level -= length
        self.steps += 1
        self.standstills = 0 if length > 1e-13 * self.level else self.standstills + 1
        if self.standstills > _MOST_STANDSTILLS:
            raise BrokenPathError
        if self.steps % _REFRESH_EVERY == 0:
            self._refresh()

    def _refresh(self) -> None:
        """Takes out of weights and correlations what rounding has left in them."""
        wanted = self.cross[self.active.places] - self.level * self.signs
        error, _ = self.active.solve(wanted - self.active.product(self.values)[self.active.places])
        self.values = self.values + error
        self.correlations = self.cross - self.active.product(self.values)

    def _leave(self, place: int) -> None:
        self._left = int(self.active.places[place])
        order = self.active.leave(place)
        self.values, self.signs = self.values[order], self.signs[order]
        self._barred[[self._left, *self._refused]] = False
        self._refused.clear()

    def _join(self, column: int) -> None:
        self._barred[column] = True
        u, distance = self.active.nearest(column)
        if distance <= DEPENDENT * self.gram[column, column]:
            self._refused.append(column)
            return
        self.active.join(column, u, distance)
        self.values = np.append(self.values, 0.0)
        self.signs = np.append(self.signs, np.sign(self.correlations[column]))
        self._left = None


def first_knot(cross: Floats) -> Knot:
    """The solution w = 0, where the column of the largest |correlation| joins."""
    first = int(np.abs(cross).argmax())
    return Knot(0.0, abs(float(cross[first])), np.array([first]), np.zeros(1), np.sign(cross[[first]]))


def _ratio(gap: Floats, speed: Floats) -> Floats:
    """Length after which a gap that closes at some speed is closed; infinite where it does not close."""
    return np.where(speed > 1e-12, np.maximum(gap, 0) / speed, np.inf)
