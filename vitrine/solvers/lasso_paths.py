"""The solution paths of all classes, certified against all columns."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from vitrine.solvers.certificate import Certificate, certify, least_squares_gap
from vitrine.solvers.lasso_path import LassoPath
from vitrine.solvers.least_squares import Floats, Indices, LeastSquares

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
