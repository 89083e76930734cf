"""The Lasso at one μ from another's solution, by moving from one set of non-zero weights to the next."""

import numpy as np

from vitrine.solvers.active_columns import DEPENDENT, ActiveColumns
from vitrine.solvers.homotopy import Knot
from vitrine.solvers.least_squares import Floats

_SMALLEST_SHARE = 1e-4


class ActiveSet:
    """Minimises wᵀGw − 2bᵀw subject to ‖w‖₁ ≤ μ by the primal active-set method.

    Osborne, Presnell, Turlach, A new approach to variable selection in least squares problems, 2000: on columns A with
    signs s, the minimum under sᵀw ≤ μ is a linear system; the way there stops where a weight would change its sign, and
    that column leaves; at the minimum, the column of the largest |correlation| joins. The objective never rises. A column
    that depends on A takes the place of one of A, along the line on which Xw stays and ‖w‖₁ falls.

    Args:
        gram: (p, p) G.
        cross: (p,) b.
        mu: bound of ‖w‖₁.
        start: any w of no larger norm.
    """

    def __init__(self, gram: Floats, cross: Floats, mu: float, start: Knot) -> None:
        self.gram, self.cross, self.mu = gram, cross, mu
        self.active = ActiveColumns(gram, start.active)
        self.values, self.signs, self.level = start.values, start.signs, start.level
        self._barred: set[int] = set()

    def solve(self, enough: float) -> Knot:
        """The minimum, to a duality gap of ``enough``, or the best that was found in a bounded number of steps."""
        for _ in range(10 * len(self.cross) + 100):
            correlations = self.cross - self._settle()
            sizes = np.abs(correlations)
            gap = 2 * (self.mu * sizes.max() - correlations[self.active.places] @ self.values)
            sizes[[*self.active.places, *self._barred]] = 0
            column = int(sizes.argmax())
            rounding = self.active.rounding(self.cross, self.values)
            if not gap > enough or sizes[column] <= self.level * (1 + 1e-12) + rounding:
                break
            self._join(column, float(np.sign(correlations[column])))
        return Knot(float(np.abs(self.values).sum()), self.level, self.active.places, self.values, self.signs)

    def _settle(self) -> Floats:
        """Goes to the minimum on A, and returns (p,) G w; columns whose weights would change sign on the way leave."""
        while len(self.active.places):
            new, product = self._minimum()
            crossing = new * self.signs < 0
            if not crossing.any():
                self.values = new
                return product
            lengths = np.where(crossing, self.values / np.where(crossing, self.values - new, 1), np.inf)
            place = int(lengths.argmin())
            if lengths[place] > 0:
                self._barred.clear()
            else:  # it would join and leave for ever
                self._barred.add(int(self.active.places[place]))
            self._leave(place, self.values + lengths[place] * (new - self.values))
        return np.zeros(len(self.cross))

    def _minimum(self) -> tuple[Floats, Floats]:
        """The minimum on A under sᵀw ≤ μ, and G w; sets the level of the correlations there."""
        free, product = self.active.solve(self.cross[self.active.places])
        excess = float(self.signs @ free) - self.mu
        if excess <= 0:
            self.level = 0.0
            return free, product
        direction, _ = self.active.solve(self.signs)
        self.level = excess / float(self.signs @ direction)
        return self._corrected(free - self.level * direction)

    def _corrected(self, values: Floats) -> tuple[Floats, Floats]:
        """Takes out what is left of the rounding of two large solutions in their small difference."""
        product = self.active.product(values)
        places = self.active.places
        error, change = self.active.solve(self.cross[places] - self.level * self.signs - product[places])
        return values + error, product + change

    def _join(self, column: int, sign: float) -> None:
        u, distance = self.active.nearest(column)
        if distance <= DEPENDENT * self.gram[column, column]:
            self._exchange(column, sign, u)
        else:
            self._append(column, sign, 0.0, u, distance)

    def _exchange(self, column: int, sign: float, u: Floats) -> None:
        """Moves weight from A onto a column that depends on it, x = X_A u, until one of A has none left."""
        falling = self.signs * u * sign > 0
        lengths = np.where(falling, np.abs(self.values) / np.abs(u), np.inf)
        place = int(lengths.argmin())
        if not (sign * u @ self.signs > 1 and abs(u[place]) > _SMALLEST_SHARE):  # ‖w‖₁ would not fall
            self._barred.add(column)
            return
        length = float(lengths[place])
        self._leave(place, self.values - length * sign * u)
        self._append(column, sign, sign * length, *self.active.nearest(column))

    def _append(self, column: int, sign: float, value: float, u: Floats, distance: float) -> None:
        self.active.join(column, u, distance)
        self.values, self.signs = np.append(self.values, value), np.append(self.signs, sign)

    def _leave(self, place: int, values: Floats) -> None:
        order = self.active.leave(place)
        self.values, self.signs = values[order], self.signs[order]
