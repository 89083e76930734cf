"""Solution paths of the constrained Lasso over μ, of one class and of many."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from vitrine.solvers.active_set import ActiveSet
from vitrine.solvers.homotopy import BrokenPathError, Homotopy, Knot, first_knot
from vitrine.solvers.least_squares import Certificate, Floats, Indices, LeastSquares, certify, least_squares_gap

_ACCURATE = 1e-10
_MOST_STEPS = 10


class LassoPath:
    """The knots of min ‖X_Sᵀw − l‖² subject to ‖w‖₁ ≤ μ over a working set S of columns, as far as they were asked for.

    Args:
        columns: (p,) S; it holds the column of the largest |correlation|.
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
        """Follows the path until ‖w‖₁ ≥ μ or w is a least-squares solution; an active set mends where it breaks."""
        if self.end.norm >= mu or self.end.level == 0:
            return
        if self._broken_at != self.end.norm:
            with suppress(BrokenPathError):
                self._follow(mu)
                return
            self._broken_at = self.end.norm
        self.mend(mu, _ACCURATE * self.label_sq)

    def weights(self, mu: float) -> Floats:
        """(p,) w on S at a μ that was reached, linear between the knots."""
        after = bisect_left(self.knots, mu, key=lambda knot: knot.norm)
        if after == len(self.knots) or after == 0:
            return self._spread(self.knots[min(after, len(self.knots) - 1)])
        left, right = self.knots[after - 1], self.knots[after]
        share = (mu - left.norm) / (right.norm - left.norm)
        return (1 - share) * self._spread(left) + share * self._spread(right)

    def mend(self, mu: float, enough: float) -> None:
        """Puts a knot at μ, found by the active-set method to a duality gap of ``enough``; none where rounding wrecks it."""
        before = bisect_right(self.knots, mu, key=lambda knot: knot.norm) - 1
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            knot = ActiveSet(self.gram, self.cross, mu, self.knots[before]).solve(enough)
        self.mended_at = mu
        if not np.isfinite(knot.values).all():
            return
        place = bisect_left(self.knots, knot.norm, key=lambda other: other.norm)
        same = place < len(self.knots) and self.knots[place].norm == knot.norm
        self.knots[place : place + same] = [knot]

    def grow(self, columns: Indices, block: Floats, cross: Floats) -> None:
        """Takes columns into S, and gives up the path from where they would have joined.

        Args:
            columns: (n,) new columns.
            block: (n, p + n) rows of X Xᵀ, for S and then for the new columns.
            cross: (n,) X l of the new columns.
        """
        had = len(self.columns)
        correlations = cross[:, None] - block[:, :had] @ np.stack([self._spread(knot) for knot in self.knots], axis=1)
        levels = np.array([knot.level for knot in self.knots])
        joins = np.flatnonzero((np.abs(correlations) > levels).any(axis=0))
        if len(joins):
            del self.knots[max(joins[0], 1) :]
        self.columns = np.concatenate([self.columns, columns])
        self.cross = np.concatenate([self.cross, cross])
        self.mended_at = self._broken_at = None
        self.gram = np.block([[self.gram, block[:, :had].T], [block]])

    def _follow(self, mu: float) -> None:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            homotopy = Homotopy(self.gram, self.cross, self.end)
            while self.end.norm < mu and self.end.level > 0:
                homotopy.step()
                knot = homotopy.knot()
                if homotopy.steps > _MOST_STEPS * len(self.columns) or not knot.norm >= self.end.norm * (1 - 1e-9):
                    raise BrokenPathError
                self.knots.append(knot._replace(norm=max(knot.norm, self.end.norm)))

    def _spread(self, knot: Knot) -> Floats:
        w = np.zeros(len(self.columns))
        w[knot.active] = knot.values
        return w


Advance = Callable[[], None]
"""Called after each class that is solved; raises where the work is to stop."""

_COLUMNS_AT_ONCE = 100
_SHARE_OF_TOLERANCE = 0.01
_EPSILON = float(np.finfo(np.float64).eps)


class Solved(NamedTuple):
    """Weights of all classes.

    Attributes:
        weights: (m, C).
        objective: (C,) ‖Xᵀw − l‖².
        gap: (C,) the objective is above its minimum by no more than this.
    """

    weights: Floats
    objective: Floats
    gap: Floats


class LassoPaths:
    """Follows each class's path on a working set of columns, which grows until the gap over all columns is small.

    Args:
        problem: the least-squares problems.
    """

    def __init__(self, problem: LeastSquares) -> None:
        self.problem = problem
        first = [_largest(np.abs(cross), _COLUMNS_AT_ONCE) for cross in problem.cross.T]
        blocks = problem.gram_blocks([(columns, columns) for columns in first])
        self.paths = [
            LassoPath(columns, block, problem.cross[columns, index], float(problem.label_sq[index]))
            for index, (columns, block) in enumerate(zip(first, blocks, strict=True))
        ]

    def solve(self, mu: Floats, tol: float, advance: Advance) -> Solved:
        """Weights for (C,) μ whose gap is at most ``tol`` of the objective, or that nothing more can be done for."""
        count = len(self.paths)
        solved = Solved(np.zeros(self.problem.cross.shape, order="F"), np.zeros(count), np.zeros(count))
        unsolved = np.arange(count)
        while len(unsolved):
            remaining = self._round(solved, unsolved, mu, tol)
            for _ in range(len(unsolved) - len(remaining)):
                advance()
            unsolved = remaining
        return solved

    def _round(self, solved: Solved, classes: Indices, mu: Floats, tol: float) -> Indices:
        """Solves on the working sets, and improves what is not good enough; returns the classes that may become better."""
        for index in classes:
            path = self.paths[index]
            path.reach(mu[index])
            solved.weights[:, index] = 0
            solved.weights[path.columns, index] = path.weights(mu[index])
        certificates = certify(self.problem, solved.weights[:, classes], classes, mu[classes])
        growing, mended = {}, []
        for index, certificate in zip(classes, certificates, strict=True):
            solved.objective[index], solved.gap[index] = certificate.objective, certificate.gap
            enough = tol * certificate.objective
            if certificate.gap <= enough or self._labels_are_met(index, certificate, enough):
                continue
            new = _violators(self.paths[index].columns, certificate)
            if len(new):
                growing[index] = new
                continue
            solved.gap[index] = self._least_gap(index, certificate, mu[index])
            if solved.gap[index] > enough and self.paths[index].mended_at != mu[index]:
                self.paths[index].mend(mu[index], max(_SHARE_OF_TOLERANCE * enough, certificate.rounding_gap))
                mended.append(index)
        self._grow(growing)
        return np.array([*growing, *mended], dtype=np.intp)

    def _labels_are_met(self, index: int, certificate: Certificate, enough: float) -> bool:
        """Whether the objective is 0 up to rounding, and its gap cannot be told from 0."""
        return certificate.objective <= _EPSILON * self.problem.label_sq[index] and certificate.rounding_gap > enough

    def _least_gap(self, index: int, certificate: Certificate, mu: float) -> float:
        if self.paths[index].end.norm >= mu:
            return certificate.gap
        return min(certificate.gap, least_squares_gap(self.problem, certificate, mu))

    def _grow(self, growing: Mapping[int, Indices]) -> None:
        if not growing:
            return
        pairs = [(new, np.concatenate([self.paths[index].columns, new])) for index, new in growing.items()]
        for (index, new), block in zip(growing.items(), self.problem.gram_blocks(pairs), strict=True):
            self.paths[index].grow(new, block, self.problem.cross[new, index])


def _violators(columns: Indices, certificate: Certificate) -> Indices:
    """Columns outside of a working set of higher |correlation| than those within, and the next lower ones; or none."""
    sizes = np.abs(certificate.correlations)
    level = sizes[columns].max() + 2 * certificate.rounding
    outside = sizes.copy()
    outside[columns] = -1  # not even chosen beside dead ones
    violating = int(np.count_nonzero(outside > level))
    if not violating:
        return np.zeros(0, dtype=np.intp)
    wanted = max(_COLUMNS_AT_ONCE, min(violating, len(columns)))
    return _largest(outside, min(wanted, len(sizes) - len(columns)))


def _largest(values: Floats, count: int) -> Indices:
    """Places of the largest values, in no order."""
    count = min(count, len(values))
    return np.argpartition(-values, count - 1)[:count]
