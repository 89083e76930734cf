"""Working sets of columns: the Lasso paths of all classes, without the whole Gram matrix."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from vitrine.solvers.certificate import Certificate, certify, least_squares_gap
from vitrine.solvers.lasso_path import LassoPath
from vitrine.solvers.least_squares import Floats, Indices, LeastSquares

Advance = Callable[[], None]
"""Called after each solved class; may raise to stop the solver."""

_NUM_NEW_COLUMNS = 100
_SHARE_OF_TOLERANCE = 0.01
_EPSILON = float(np.finfo(np.float64).eps)


class Solution(NamedTuple):
    """Weights of all classes, and their certificates.

    Attributes:
        weights: (m, C).
        objective: (C,) ‖Xᵀw − l‖².
        gap: (C,) upper bound of the objective's distance from its minimum.
    """

    weights: Floats
    objective: Floats
    gap: Floats


class LassoPaths:
    """The paths of all classes, each on a working set of columns that grows until the gap over all columns is small.

    Args:
        problem: the least-squares problems.
    """

    def __init__(self, problem: LeastSquares) -> None:
        self.problem = problem
        first = [_largest(np.abs(cross), _NUM_NEW_COLUMNS) for cross in problem.cross.T]
        blocks = problem.gram_blocks([(columns, columns) for columns in first])
        self.paths = [
            LassoPath(columns, block, problem.cross[columns, index], float(problem.label_sq[index]))
            for index, (columns, block) in enumerate(zip(first, blocks, strict=True))
        ]

    def solve(self, mu: Floats, tol: float, advance: Advance) -> Solution:
        """Weights for (C,) μ, with a gap of at most ``tol`` of the objective wherever rounding allows it."""
        count = len(self.paths)
        solution = Solution(np.zeros(self.problem.cross.shape, order="F"), np.zeros(count), np.zeros(count))
        unsolved = np.arange(count)
        while len(unsolved):
            remaining = self._round(solution, unsolved, mu, tol)
            for _ in range(len(unsolved) - len(remaining)):
                advance()
            unsolved = remaining
        return solution

    def _round(self, solution: Solution, classes: Indices, mu: Floats, tol: float) -> Indices:
        """Solves classes on their working sets and improves those of too large a gap; returns the classes to solve again."""
        for index in classes:
            path = self.paths[index]
            path.reach(mu[index])
            solution.weights[:, index] = 0
            solution.weights[path.columns, index] = path.weights(mu[index])
        certificates = certify(self.problem, solution.weights[:, classes], classes, mu[classes])
        growing, mended = {}, []
        for index, certificate in zip(classes, certificates, strict=True):
            solution.objective[index], solution.gap[index] = certificate.objective, certificate.gap
            max_gap = tol * certificate.objective
            if certificate.gap <= max_gap or self._fits_labels(index, certificate, max_gap):
                continue
            new = _violators(self.paths[index].columns, certificate)
            if len(new):
                growing[index] = new
                continue
            solution.gap[index] = self._least_gap(index, certificate, mu[index])
            if solution.gap[index] > max_gap and self.paths[index].mended_at != mu[index]:
                self.paths[index].mend(mu[index], max(_SHARE_OF_TOLERANCE * max_gap, certificate.rounding_gap))
                mended.append(index)
        self._grow(growing)
        return np.array([*growing, *mended], dtype=np.intp)

    def _fits_labels(self, index: int, certificate: Certificate, max_gap: float) -> bool:
        """Whether the objective is 0 up to rounding, so that its gap is nothing but rounding."""
        return certificate.objective <= _EPSILON * self.problem.label_sq[index] and certificate.rounding_gap > max_gap

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
    """Columns outside a working set of higher |correlation| than those within, with the next lower ones; or none."""
    sizes = np.abs(certificate.correlations)
    level = sizes[columns].max() + 2 * certificate.rounding
    outside = sizes.copy()
    outside[columns] = -1  # below those of dead filters, which are 0
    violating = int(np.count_nonzero(outside > level))
    if not violating:
        return np.zeros(0, dtype=np.intp)
    count = max(_NUM_NEW_COLUMNS, min(violating, len(columns)))
    return _largest(outside, min(count, len(sizes) - len(columns)))


def _largest(values: Floats, count: int) -> Indices:
    """Indices of the largest values, unordered."""
    count = min(count, len(values))
    return np.argpartition(-values, count - 1)[:count]
