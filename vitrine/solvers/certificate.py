"""Duality gaps that certify solutions of the μ-Lasso, rounding in float64 included."""

from typing import NamedTuple

import numpy as np

from vitrine.solvers.least_squares import Fit, Floats, Indices, LeastSquares

_EPSILON = float(np.finfo(np.float64).eps)


class Certificate(NamedTuple):
    """Error bounds for one class's weights, from all columns and in float64.

    Attributes:
        correlations: (m,) c = X (l − Xᵀw).
        objective: ‖Xᵀw − l‖².
        gap: upper bound of the objective's distance from its minimum, rounding included.
        rounding: (m,) bound of the rounding error of each correlation, to first order.
        rounding_gap: the part of ``gap`` that is due to rounding.
    """

    correlations: Floats
    objective: float
    gap: float
    rounding: Floats
    rounding_gap: float


def certify(problem: LeastSquares, weights: Floats, classes: Indices, mu: Floats) -> list[Certificate]:
    """The duality gap 2 (μ ‖c‖∞ − cᵀw) (Jaggi, Revisiting Frank-Wolfe, ICML 2013) of (m, J) weights for (J,) μ."""
    return certificates(problem.fit(weights, classes), weights, problem.norms, problem.label_sq[classes], mu)


def certificates(fit: Fit, weights: Floats, norms: Floats, label_sq: Floats, mu: Floats) -> list[Certificate]:
    """Those of weights whose residual is known.

    Args:
        fit: the residual of the weights.
        weights: (m, J).
        norms: (m,) ℓ2 norm of each filter's responses.
        label_sq: (J,) ‖l‖².
        mu: (J,) μ.
    """
    correlations, objective = fit
    sizes, products = np.abs(correlations), (correlations * weights).sum(axis=0)
    lengths = norms @ np.abs(weights)
    errors = _EPSILON * (np.sqrt(label_sq) + lengths)
    rounding = np.multiply.outer(errors, norms).T
    exact = 2 * (mu * sizes.max(axis=0) - products).clip(min=0)
    gap = exact + 2 * (mu * ((sizes + rounding).max(axis=0) - sizes.max(axis=0)) + lengths * errors)
    columns = (correlations.T, objective.tolist(), gap.tolist(), rounding.T, (gap - exact).tolist())
    return [Certificate(*parts) for parts in zip(*columns, strict=True)]


def least_squares_gap(problem: LeastSquares, certificate: Certificate, mu: float) -> float:
    """A gap that stays small for a large μ, where w is a least-squares solution and the correlations are rounding errors.

    The objective is at most cᵀG⁺c above its minimum. G⁺ leaves out the directions in which G is 0 up to rounding; along
    these the objective decreases by at most 2 ‖c‖∞ for each unit of ‖w‖₁.
    """
    correlations, rounding = certificate.correlations, certificate.rounding
    values, vectors = problem.spectrum
    along = vectors.T @ correlations
    orthogonal = correlations - vectors @ along
    rounding_norm = np.linalg.norm(rounding) / np.sqrt(values.min(initial=np.inf))
    gap = (np.sqrt((along**2 / values).sum()) + rounding_norm) ** 2
    if len(values) == len(correlations):
        return float(gap)
    return float(gap + 4 * mu * (np.abs(orthogonal) + rounding).max())
