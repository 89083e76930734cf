"""How far weights are from the best ones, at most."""

from typing import NamedTuple

import numpy as np

from vitrine.solvers.least_squares import Floats, Indices, LeastSquares

_EPSILON = float(np.finfo(np.float64).eps)


class Certificate(NamedTuple):
    """Bounds for J classes, from all columns and in float64.

    Attributes:
        correlations: (m, J) c = X (l − Xᵀw).
        objective: (J,) ‖Xᵀw − l‖².
        gap: (J,) the objective is above its minimum by no more than this.
        rounding: (J,) what rounding may add to an entry of c, to first order; ``gap`` has it in it.
    """

    correlations: Floats
    objective: Floats
    gap: Floats
    rounding: Floats


def certify(problem: LeastSquares, weights: Floats, classes: Indices, mu: Floats) -> Certificate:
    """The duality gap 2 (μ ‖c‖∞ − cᵀw) (Jaggi, Revisiting Frank-Wolfe, ICML 2013) of (m, J) weights for (J,) μ."""
    correlations, objective = problem.fit(weights, classes)
    lengths = np.sqrt(problem.label_sq[classes]) + problem.norms @ np.abs(weights)
    rounding = _EPSILON * problem.norms.max() * lengths
    gap = 2 * (mu * np.abs(correlations).max(axis=0) - (correlations * weights).sum(axis=0))
    return Certificate(correlations, objective, gap.clip(min=0) + 4 * mu * rounding, rounding)


def least_squares_gap(problem: LeastSquares, correlations: Floats, mu: float, rounding: float) -> float:
    """A bound that stays small for a large μ, where w is a least-squares solution and (m,) correlations are rounding.

    No w is better by more than cᵀG⁺c. Directions in which G is 0 up to rounding have no part in G⁺; along these, the
    objective falls by no more than 2 ‖c‖∞ a unit of ‖w‖₁.
    """
    values, vectors = problem.spectrum
    along = vectors.T @ correlations
    across = correlations - vectors @ along
    spread = np.sqrt(len(correlations)) * rounding
    gap = (np.sqrt((along**2 / values).sum()) + spread / np.sqrt(values.min(initial=np.inf))) ** 2
    if len(values) == len(correlations):
        return float(gap)
    return float(gap + 4 * mu * (np.abs(across).max() + rounding))
