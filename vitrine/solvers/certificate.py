"""How far weights are from the best ones, at most."""

from typing import NamedTuple

import numpy as np

from vitrine.solvers.least_squares import Floats, Indices, LeastSquares

_EPSILON = float(np.finfo(np.float64).eps)


class Certificate(NamedTuple):
    """Bounds for one class, from all columns and in float64.

    Attributes:
        correlations: (m,) c = X (l − Xᵀw).
        objective: ‖Xᵀw − l‖².
        gap: the objective is above its minimum by no more than this.
        rounding: (m,) what rounding may add to each correlation, to first order; ``gap`` has it in it.
        rounding_gap: that part of ``gap``.
    """

    correlations: Floats
    objective: float
    gap: float
    rounding: Floats
    rounding_gap: float


def certify(problem: LeastSquares, weights: Floats, classes: Indices, mu: Floats) -> list[Certificate]:
    """The duality gap 2 (μ ‖c‖∞ − cᵀw) (Jaggi, Revisiting Frank-Wolfe, ICML 2013) of (m, J) weights for (J,) μ."""
    correlations, objective = problem.fit(weights, classes)
    sizes, moved = np.abs(correlations), (correlations * weights).sum(axis=0)
    lengths = problem.norms @ np.abs(weights)
    errors = _EPSILON * (np.sqrt(problem.label_sq[classes]) + lengths)
    rounding = np.multiply.outer(errors, problem.norms).T
    exact = 2 * (mu * sizes.max(axis=0) - moved).clip(min=0)
    gap = exact + 2 * (mu * ((sizes + rounding).max(axis=0) - sizes.max(axis=0)) + lengths * errors)
    columns = (correlations.T, objective.tolist(), gap.tolist(), rounding.T, (gap - exact).tolist())
    return [Certificate(*parts) for parts in zip(*columns, strict=True)]


def least_squares_gap(problem: LeastSquares, certificate: Certificate, mu: float) -> float:
    """A bound that stays small for a large μ, where w is a least-squares solution and correlations are rounding.

    No w is better by more than cᵀG⁺c. Directions in which G is 0 up to rounding have no part in G⁺; along these, the
    objective falls by no more than 2 ‖c‖∞ a unit of ‖w‖₁.
    """
    correlations, rounding = certificate.correlations, certificate.rounding
    values, vectors = problem.spectrum
    along = vectors.T @ correlations
    across = correlations - vectors @ along
    spread = np.linalg.norm(rounding) / np.sqrt(values.min(initial=np.inf))
    gap = (np.sqrt((along**2 / values).sum()) + spread) ** 2
    if len(values) == len(correlations):
        return float(gap)
    return float(gap + 4 * mu * (np.abs(across) + rounding).max())
