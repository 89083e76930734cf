"""Duality gaps: an upper bound of the distance from the optimum, also where it is rounding alone."""

import numpy as np
import pytest
import torch

from vitrine.solvers import solve_mu_lasso
from vitrine.solvers.certificate import certify, least_squares_gap
from vitrine.solvers.least_squares import GramLeastSquares

GENERATOR = torch.Generator().manual_seed(0)
X = torch.rand(40, 7, generator=GENERATOR, dtype=torch.float64)
LABELS = torch.rand(40, 2, generator=GENERATOR, dtype=torch.float64)
PROBLEM = GramLeastSquares(X.T @ X, X.T @ LABELS, (LABELS**2).sum(dim=0))


@pytest.mark.parametrize("mu", [0.1, 1.0, 5.0])
def test_the_gap_bounds_the_distance_from_the_optimum(mu: float) -> None:
    best = solve_mu_lasso(X.T @ X, X.T @ LABELS, (LABELS**2).sum(dim=0), mu, 1e-12).objective.numpy()
    generator = np.random.default_rng(1)
    for _ in range(20):
        weights = generator.standard_normal((7, 2))
        weights *= mu * generator.random(2) / np.abs(weights).sum(axis=0)
        for one, least in zip(certify(PROBLEM, weights, np.arange(2), np.full(2, mu)), best, strict=True):
            assert one.objective - least <= one.gap * (1 + 1e-9)


def test_certificates_hold_what_their_names_say() -> None:
    weights, mu = np.zeros((7, 1)), np.array([2.0])
    weights[3] = 1.5
    (one,) = certify(PROBLEM, weights, np.array([1]), mu)
    residual = LABELS[:, 1].numpy() - X.numpy() @ weights[:, 0]
    correlations = X.numpy().T @ residual
    np.testing.assert_allclose(one.correlations, correlations)
    assert one.objective == pytest.approx(residual @ residual)
    assert one.gap == pytest.approx(2 * (2 * np.abs(correlations).max() - correlations @ weights[:, 0]))
    assert 0 <= one.rounding_gap < 1e-10
    assert (one.rounding > 0).all()


def test_at_a_least_squares_solution_the_gap_stays_small_however_large_mu_is() -> None:
    weights = np.linalg.lstsq(X.numpy(), LABELS.numpy()[:, :1], rcond=None)[0]
    mu = np.array([1e9])
    (one,) = certify(PROBLEM, weights, np.array([0]), mu)
    assert least_squares_gap(PROBLEM, one, 1e9) < 1e-9 * one.objective < one.gap
