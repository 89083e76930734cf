"""Solution path of the constrained Lasso over μ: the knots of a piecewise linear function."""

from bisect import bisect_left, bisect_right
from contextlib import suppress

import numpy as np

from vitrine.solvers.active_set import ActiveSet
from vitrine.solvers.homotopy import BrokenPathError, Homotopy, Knot, first_knot
from vitrine.solvers.least_squares import Floats, Indices

_MEND_TOLERANCE = 1e-10
_MAX_STEPS_PER_COLUMN = 10


class LassoPath:
    """The knots of min ‖X_Sᵀw − l‖² subject to ‖w‖₁ ≤ μ over a working set S of columns, computed on demand.

    Args:
        columns: (p,) S, which must include the column of the largest |correlation|.
        gram: (p, p) the block of X Xᵀ on S.
        cross: (p,) X_S l.
        label_sq: ‖l‖².
    """

    def __init__(self, columns: Indices, gram: Floats, cross: Floats, label_sq: float) -> None:
        self.columns, self.gram, self.cross, self.label_sq = columns, gram, cross, label_sq
        self.knots = [first_knot(cross)]
        self.mended_at: float | None = None
        self._broken_at: float | None = None

    @property
    def end(self) -> Knot:
        """The last knot."""
        return self.knots[-1]

    def reach(self, mu: float) -> None:
        """Extends the path until ‖w‖₁ ≥ μ or w is a least-squares solution, by an active-set method where homotopy fails."""
        if self.end.norm >= mu or self.end.level == 0:
            return
        if self._broken_at != self.end.norm:
            with suppress(BrokenPathError):
                self._follow(mu)
                return
            self._broken_at = self.end.norm
        self.mend(mu, _MEND_TOLERANCE * self.label_sq)

    def weights(self, mu: float) -> Floats:
        """(p,) w on S at a μ that was reached; linear between knots."""
        after = bisect_left(self.knots, mu, key=lambda knot: knot.norm)
        if after == len(self.knots) or after == 0:
            return self._dense(self.knots[min(after, len(self.knots) - 1)])
        left, right = self.knots[after - 1], self.knots[after]
        share = (mu - left.norm) / (right.norm - left.norm)
        return (1 - share) * self._dense(left) + share * self._dense(right)

    def mend(self, mu: float, max_gap: float) -> None:
        """Inserts a knot at μ, solved by the active-set method up to a duality gap; none where rounding makes it fail."""
        before = bisect_right(self.knots, mu, key=lambda knot: knot.norm) - 1
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            knot = ActiveSet(self.gram, self.cross, mu, self.knots[before]).solve(max_gap)
        self.mended_at = mu
        if not np.isfinite(knot.values).all():
            return
        position = bisect_left(self.knots, knot.norm, key=lambda other: other.norm)
        exists = position < len(self.knots) and self.knots[position].norm == knot.norm
        self.knots[position : position + exists] = [knot]

    def grow(self, columns: Indices, block: Floats, cross: Floats) -> None:
        """Adds columns to S, and discards the path from the knot on at which the first of them would have become active.

        Args:
            columns: (n,) new columns.
            block: (n, p + n) rows of X Xᵀ, for S and then for the new columns.
            cross: (n,) X l of the new columns.
        """
        old = len(self.columns)
        correlations = cross[:, None] - block[:, :old] @ np.stack([self._dense(knot) for knot in self.knots], axis=1)
        levels = np.array([knot.level for knot in self.knots])
        joins = np.flatnonzero((np.abs(correlations) > levels).any(axis=0))
        if len(joins):
            del self.knots[max(joins[0], 1) :]
        self.columns = np.concatenate([self.columns, columns])
        self.cross = np.concatenate([self.cross, cross])
        self.mended_at = self._broken_at = None
        self.gram = np.block([[self.gram, block[:, :old].T], [block]])

    def _follow(self, mu: float) -> None:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            homotopy = Homotopy(self.gram, self.cross, self.end)
            while self.end.norm < mu and self.end.level > 0:
                homotopy.step()
                knot = homotopy.knot()
                if homotopy.steps > _MAX_STEPS_PER_COLUMN * len(self.columns) or not knot.norm >= self.end.norm * (
                    1 - 1e-9
                ):
                    raise BrokenPathError
                self.knots.append(knot._replace(norm=max(knot.norm, self.end.norm)))

    def _dense(self, knot: Knot) -> Floats:
        w = np.zeros(len(self.columns))
        w[knot.active] = knot.values
        return w
