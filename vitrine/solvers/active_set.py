"""Primal active-set method for the constrained Lasso at one μ."""

import numpy as np

from vitrine.solvers.active_columns import DEPENDENT, ActiveColumns
from vitrine.solvers.homotopy import Knot
from vitrine.solvers.least_squares import Floats

_SMALLEST_SHARE = 1e-4


class ActiveSet:
    """Minimises wᵀGw − 2bᵀw subject to ‖w‖₁ ≤ μ by the primal active-set method.

    Osborne, Presnell, Turlach, A new approach to variable selection in least squares problems, 2000: on active columns A
    with signs s, the minimum under sᵀw ≤ μ is the solution of a linear system. The step towards it ends where a weight would
    change its sign, and that column is removed; at the minimum, the column of the largest |correlation| is added. The
    objective never increases. A column that depends on A replaces one of A, along the line on which Xw is constant and ‖w‖₁
    decreases.

    Args:
        gram: (p, p) G.
        cross: (p,) b.
        mu: bound of ‖w‖₁.
        start: any w with ‖w‖₁ ≤ μ.
    """

    def __init__(self, gram: Floats, cross: Floats, mu: float, start: Knot) -> None:
        self.gram, self.cross, self.mu = gram, cross, mu
        self.active = ActiveColumns(gram, start.active)
        self.values, self.signs, self.level = start.values, start.signs, start.level
        self._excluded: set[int] = set()

    def solve(self, max_gap: float) -> Knot:
        """The minimum up to a duality gap, or the last iterate after a bounded number of steps."""
        for _ in range(10 * len(self.cross) + 100):
            correlations = self.cross - self._minimise()
            sizes = np.abs(correlations)
            gap = 2 * (self.mu * sizes.max() - correlations[self.active.columns] @ self.values)
            sizes[[*self.active.columns, *self._excluded]] = 0
            column = int(sizes.argmax())
            rounding = self.active.rounding(self.cross, self.values)
            if not gap > max_gap or sizes[column] <= self.level * (1 + 1e-12) + rounding:
                break
            self._add(column, float(np.sign(correlations[column])))
        return Knot(float(np.abs(self.values).sum()), self.level, self.active.columns, self.values, self.signs)

    def _minimise(self) -> Floats:
        """Moves to the minimum on A and returns (p,) G w; removes columns whose weights would change sign on the way."""
        while len(self.active.columns):
            new, product = self._minimum()
            crossing = new * self.signs < 0
            if not crossing.any():
                self.values = new
                return product
            lengths = np.where(crossing, self.values / np.where(crossing, self.values - new, 1), np.inf)
            position = int(lengths.argmin())
            if lengths[position] > 0:
                self._excluded.clear()
            else:  # it would be added and removed in an endless loop
                self._excluded.add(int(self.active.columns[position]))
            self._remove(position, self.values + lengths[position] * (new - self.values))
        return np.zeros(len(self.cross))

    def _minimum(self) -> tuple[Floats, Floats]:
        """The minimum on A under sᵀw ≤ μ, and G w; sets the level of the correlations at it."""
        free, product = self.active.solve(self.cross[self.active.columns])
        excess = float(self.signs @ free) - self.mu
        if excess <= 0:
            self.level = 0.0
            return free, product
        direction, _ = self.active.solve(self.signs)
        self.level = excess / float(self.signs @ direction)
        return self._corrected(free - self.level * direction)

    def _corrected(self, values: Floats) -> tuple[Floats, Floats]:
        """Corrects the rounding error of a small difference of two large solutions."""
        product = self.active.product(values)
        columns = self.active.columns
        error, change = self.active.solve(self.cross[columns] - self.level * self.signs - product[columns])
        return values + error, product + change

    def _add(self, column: int, sign: float) -> None:
        u, distance = self.active.nearest(column)
        if distance <= DEPENDENT * self.gram[column, column]:
            self._exchange(column, sign, u)
        else:
            self._append(column, sign, 0.0, u, distance)

    def _exchange(self, column: int, sign: float, u: Floats) -> None:
        """Moves weight from A to a column that depends on it, x = X_A u, until one weight of A is 0."""
        decreases = self.signs * u * sign > 0
        lengths = np.where(decreases, np.abs(self.values) / np.abs(u), np.inf)
        position = int(lengths.argmin())
        if not (sign * u @ self.signs > 1 and abs(u[position]) > _SMALLEST_SHARE):  # ‖w‖₁ would not decrease
            self._excluded.add(column)
            return
        length = float(lengths[position])
        self._remove(position, self.values - length * sign * u)
        self._append(column, sign, sign * length, *self.active.nearest(column))

    def _append(self, column: int, sign: float, value: float, u: Floats, distance: float) -> None:
        self.active.add(column, u, distance)
        self.values, self.signs = np.append(self.values, value), np.append(self.signs, sign)

    def _remove(self, position: int, values: Floats) -> None:
        order = self.active.remove(position)
        self.values, self.signs = values[order], self.signs[order]
