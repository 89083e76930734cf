"""The homotopy of the Lasso: how the solution changes while ‖w‖₁ grows."""

from typing import NamedTuple

import numpy as np
import torch

from vitrine.solvers.least_squares import Floats, Indices

DEPENDENT = 1e-11
"""A column whose squared distance to the span of others is at most this share of its squared length depends on them."""

_EXACT, _TOLERABLE = 1e-9, 1e-6
_MOST_REFINEMENTS = 3
_REFRESH_EVERY = 32
_MOST_STANDSTILLS = 20
_EPSILON = float(np.finfo(np.float64).eps)


class BrokenPathError(ArithmeticError):
    """Rounding has the better of the homotopy: ties or nearly dependent columns."""


class Knot(NamedTuple):
    """An optimal w, at which the set of non-zero weights changes; between two knots the solution is linear.

    Attributes:
        norm: ‖w‖₁.
        level: λ, the largest |correlation|, that of all active columns.
        active: (k,) columns that are, or are about to be, non-zero.
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

    Raises:
        BrokenPathError: the active columns depend on each other.
    """

    def __init__(self, gram: Floats, cross: Floats, start: Knot) -> None:
        self.gram, self.cross = gram, cross
        self.active = start.active.tolist()
        self.values, self.signs, self.level = start.values, start.signs, start.level
        self.correlations = cross
        self.barred = np.zeros(len(cross), dtype=bool)
        self.refused: list[int] = []
        self._lengths = np.sqrt(gram.diagonal().clip(min=0))
        self.dropped: int | None = None
        self.steps = self.standstills = 0
        room = 2 * len(self.active) + 32
        self._inverse = np.empty((room, room))
        self._rows = np.empty((room, len(cross)))
        self._rows[: len(self.active)] = gram[self.active]
        self.barred[self.active] = True
        self._invert()
        self._refresh()

    def knot(self) -> Knot:
        """Where the path stands."""
        norm = float(np.abs(self.values).sum())
        return Knot(norm, self.level, np.array(self.active, dtype=np.intp), self.values, self.signs)

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
        if self.level <= self._rounding():
            self.level = 0.0
        elif length == shorter:
            self._leave(leaving)
        else:
            self._join(joining)

    def _rounding(self) -> float:
        """What is left of correlations that are 0."""
        lengths = self._lengths[self.active] @ np.abs(self.values)
        return 4 * _EPSILON * float(np.abs(self.cross).max() + self._lengths.max() * lengths)

    def _direction(self) -> tuple[Floats, Floats]:
        """The direction d = G_AA⁻¹ s, and what a unit along it takes from every column's correlation: s on A."""
        direction, slope = self._solved_direction()
        if not np.abs(self.signs - slope[self.active]).max() <= _EXACT:
            self._invert()
            self._refresh()
            direction, slope = self._solved_direction()
        if not (np.abs(self.signs - slope[self.active]).max() <= _TOLERABLE and direction @ self.signs > 0):
            raise BrokenPathError
        return direction, slope

    def _solved_direction(self) -> tuple[Floats, Floats]:
        count = len(self.active)
        inverse, rows = self._inverse[:count, :count], self._rows[:count]
        direction = inverse @ self.signs
        slope = direction @ rows
        for _ in range(_MOST_REFINEMENTS):
            error = self.signs - slope[self.active]
            if np.abs(error).max() <= _EXACT:
                break
            direction = direction + inverse @ error
            slope = direction @ rows
        return direction, slope

    def _next_joining(self, slope: Floats) -> tuple[int, float]:
        """The column that reaches the falling level first, and after which length."""
        positive = _ratio(self.level - self.correlations, 1 - slope)
        negative = _ratio(self.level + self.correlations, 1 + slope)
        if self.dropped is not None:  # it stands at the level, and falls faster
            (positive if self.correlations[self.dropped] > 0 else negative)[self.dropped] = np.inf
        both = np.minimum(positive, negative)
        both[self.barred] = np.inf
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

    def _leave(self, place: int) -> None:
        last = len(self.active) - 1
        inverse, rows = self._inverse[: last + 1, : last + 1], self._rows
        column = inverse[:, place].copy()
        _add_outer(inverse, column, -1 / column[place])
        # The last one takes the place.
        inverse[place], rows[place] = inverse[last], rows[last]
        inverse[:, place] = inverse[:, last]
        order = np.arange(last)
        order[place:][:1] = last
        self.dropped, self.active = self.active[place], [self.active[old] for old in order]
        self.values, self.signs = self.values[order], self.signs[order]
        self.barred[[self.dropped, *self.refused]] = False
        self.refused.clear()

    def _join(self, column: int) -> None:
        count = len(self.active)
        row = self.gram[column]
        self.barred[column] = True
        projected = self._inverse[:count, :count] @ row[self.active]
        distance = row[column] - row[self.active] @ projected
        if distance <= DEPENDENT * row[column]:
            self.refused.append(column)
            return
        self._make_room(count + 1)
        _add_outer(self._inverse[:count, :count], projected, 1 / distance)
        self._inverse[count, :count] = self._inverse[:count, count] = -projected / distance
        self._inverse[count, count] = 1 / distance
        self._rows[count] = row
        self.active.append(column)
        self.values = np.append(self.values, 0.0)
        self.signs = np.append(self.signs, np.sign(self.correlations[column]))
        self.dropped = None

    def _make_room(self, count: int) -> None:
        if count > len(self._inverse):
            inverse, rows, had = self._inverse, self._rows, count - 1
            self._inverse, self._rows = np.empty((2 * count, 2 * count)), np.empty((2 * count, rows.shape[1]))
            self._inverse[:had, :had], self._rows[:had] = inverse[:had, :had], rows[:had]

    def _invert(self) -> None:
        """Computes the inverse anew, which was updated step by step."""
        count = len(self.active)
        try:
            self._inverse[:count, :count] = np.linalg.inv(self._rows[:count, self.active])
        except np.linalg.LinAlgError:
            raise BrokenPathError from None

    def _refresh(self) -> None:
        """Takes out of weights and correlations what rounding has left in them."""
        count = len(self.active)
        rows = self._rows[:count]
        wanted = self.cross[self.active] - self.level * self.signs
        error = wanted - (self.values @ rows)[self.active]
        self.values = self.values + self._inverse[:count, :count] @ error
        self.correlations = self.cross - self.values @ rows


def first_knot(cross: Floats) -> Knot:
    """The solution w = 0, where the column of the largest |correlation| joins."""
    first = int(np.abs(cross).argmax())
    return Knot(0.0, abs(float(cross[first])), np.array([first]), np.zeros(1), np.sign(cross[[first]]))


def _ratio(gap: Floats, speed: Floats) -> Floats:
    """Length after which a gap that closes at some speed is closed; infinite where it does not close."""
    return np.where(speed > 1e-12, np.maximum(gap, 0) / speed, np.inf)


def _add_outer(matrix: Floats, vector: Floats, factor: float) -> None:
    """Adds factor · v vᵀ in place; NumPy would write it down first, which takes four times as long."""
    shared = torch.from_numpy(vector)
    torch.from_numpy(matrix).addr_(shared, shared, alpha=factor)
