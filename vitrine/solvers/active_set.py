"""The Lasso at one μ from any start, by moving from one set of non-zero weights to the next."""

import numpy as np

from vitrine.solvers.homotopy import DEPENDENT
from vitrine.solvers.least_squares import Floats, Indices


class ActiveSet:
    """Minimises wᵀGw − 2bᵀw subject to ‖w‖₁ ≤ μ by the primal active-set method.

    Osborne, Presnell, Turlach, A new approach to variable selection in least squares problems, 2000: on columns A with
    signs s, the minimum under sᵀw ≤ μ is a linear system; the way there stops where a weight would change its sign, and
    that column leaves; at the minimum, the column of the largest |correlation| joins. The objective never rises. A column
    that depends on A takes the place of one of A, along the line on which Xᵀw stays and ‖w‖₁ falls.

    Args:
        gram: (p, p) G.
        cross: (p,) b.
        mu: bound of ‖w‖₁.
        start: (p,) any w; it is scaled into the ball.
    """

    def __init__(self, gram: Floats, cross: Floats, mu: float, start: Floats) -> None:
        self.gram, self.cross, self.mu = gram, cross, mu
        norm = np.abs(start).sum()
        self.w = start * min(1.0, mu / norm) if norm > 0 else start.copy()
        self.active = np.flatnonzero(self.w).tolist()
        self.signs = np.sign(self.w)
        self.level = 0.0
        self.barred: set[int] = set()

    def solve(self, enough: float) -> Floats:
        """The (p,) minimiser, to a duality gap of ``enough``, or the best that was found in a bounded number of steps."""
        for _ in range(10 * len(self.cross) + 100):
            self._settle()
            correlations = self.cross - self.gram[:, self.active] @ self.w[self.active]
            sizes = np.abs(correlations)
            gap = 2 * (self.mu * sizes.max() - correlations @ self.w)
            sizes[[*self.active, *self.barred]] = 0
            column = int(sizes.argmax())
            if gap <= enough or sizes[column] <= self.level * (1 + 1e-12):
                break
            self._join(column, float(np.sign(correlations[column])))
        return self.w

    def _settle(self) -> None:
        """Goes to the minimum on A; columns whose weights would change sign on the way leave."""
        while self.active:
            active = np.array(self.active)
            old, signs = self.w[active], self.signs[active]
            new = self._minimum(active, signs)
            crossing = new * signs < 0
            if not crossing.any():
                self.w[active] = new
                return
            lengths = np.where(crossing, old / np.where(crossing, old - new, 1), np.inf)
            place = int(lengths.argmin())
            if lengths[place] > 0:
                self.barred.clear()
            else:  # it would join and leave for ever
                self.barred.add(self.active[place])
            self.w[active] = old + lengths[place] * (new - old)
            self._leave(place)

    def _minimum(self, active: Indices, signs: Floats) -> Floats:
        """The minimum on A under sᵀw ≤ μ; sets the level of the correlations there."""
        right = np.stack([self.cross[active], signs], axis=1)
        free, direction = _solve(self.gram[np.ix_(active, active)], right).T
        excess = signs @ free - self.mu
        self.level = max(0.0, excess / (signs @ direction)) if excess > 0 else 0.0
        minimum: Floats = free - self.level * direction
        return minimum

    def _join(self, column: int, sign: float) -> None:
        row = self.gram[column, self.active]
        projected = _solve(self.gram[np.ix_(self.active, self.active)], row)
        if self.gram[column, column] - row @ projected <= DEPENDENT * self.gram[column, column]:
            self._exchange(column, sign, projected)
        else:
            self.active.append(column)
            self.signs[column] = sign

    def _exchange(self, column: int, sign: float, projected: Floats) -> None:
        """Moves weight from A onto a column that depends on it, x = X_A u, until one of A has none left."""
        direction = -sign * projected
        signs = self.signs[self.active]
        if not signs @ direction < -1:  # ‖w‖₁ would not fall
            self.barred.add(column)
            return
        lengths = np.where(signs * direction < 0, np.abs(self.w[self.active] / direction), np.inf)
        place = int(lengths.argmin())
        self.w[self.active] += lengths[place] * direction
        self.w[column], self.signs[column] = sign * lengths[place], sign
        self._leave(place)
        self.active.append(column)

    def _leave(self, place: int) -> None:
        self.w[self.active.pop(place)] = 0.0


def _solve(matrix: Floats, right: Floats) -> Floats:
    """The solution, refined once; the least-squares one where the matrix is singular."""
    try:
        inverse = np.linalg.inv(matrix)
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.lstsq(matrix, right)[0])
    solution = inverse @ right
    return np.asarray(solution + inverse @ (right - matrix @ solution))
