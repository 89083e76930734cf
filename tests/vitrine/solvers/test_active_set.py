"""The active-set method: optimality conditions at its end, from any start within the ball."""

import numpy as np
import pytest

from vitrine.solvers.active_set import ActiveSet
from vitrine.solvers.homotopy import Knot, first_knot
from vitrine.solvers.least_squares import Floats


def problem(rows: int, columns: int, seed: int) -> tuple[Floats, Floats]:
    generator = np.random.default_rng(seed)
    x, y = generator.standard_normal((rows, columns)), generator.standard_normal(rows)
    return np.asarray(x.T @ x), np.asarray(x.T @ y)


def weights_of(knot: Knot, columns: int) -> Floats:
    weights = np.zeros(columns)
    weights[knot.active] = knot.values
    return weights


def check(gram: Floats, cross: Floats, mu: float, knot: Knot) -> None:
    """The conditions of Karush, Kuhn and Tucker."""
    weights = weights_of(knot, len(cross))
    correlations = cross - gram @ weights
    scale = np.abs(cross).max()
    assert np.abs(weights).sum() <= mu * (1 + 1e-9)
    np.testing.assert_allclose(correlations[knot.active], knot.level * knot.signs, atol=1e-8 * scale)
    assert np.abs(correlations).max() <= knot.level + 1e-8 * scale
    assert (knot.values * knot.signs >= -1e-12).all()
    if knot.level > 1e-8 * scale:
        assert np.abs(weights).sum() == pytest.approx(mu, rel=1e-8)


@pytest.mark.parametrize("mu", [0.01, 0.3, 1.0, 100.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_conditions_of_optimality_hold_from_zero(mu: float, seed: int) -> None:
    gram, cross = problem(40, 12, seed)
    check(gram, cross, mu, ActiveSet(gram, cross, mu, first_knot(cross)).solve(1e-12))


def test_a_start_elsewhere_gives_the_same() -> None:
    gram, cross = problem(40, 12, 5)
    expected = weights_of(ActiveSet(gram, cross, 0.5, first_knot(cross)).solve(1e-12), 12)
    start = Knot(0.3, 0.0, np.array([2, 7]), np.array([0.1, -0.2]), np.array([1.0, -1.0]))
    found = ActiveSet(gram, cross, 0.5, start).solve(1e-12)
    check(gram, cross, 0.5, found)
    np.testing.assert_allclose(weights_of(found, 12), expected, atol=1e-8)


def test_of_dependent_columns_the_longer_one_is_used() -> None:
    x = np.array([[1.0, 2.0], [0.0, 0.0]])  # the second column does the same for half the weight
    gram, cross = x.T @ x, x.T @ np.array([1.0, 0.0])
    start = Knot(0.2, 0.0, np.array([0]), np.array([0.2]), np.array([1.0]))
    np.testing.assert_allclose(weights_of(ActiveSet(gram, cross, 0.25, start).solve(1e-12), 2), [0, 0.25], atol=1e-10)


def test_orthonormal_columns_give_a_soft_threshold() -> None:
    cross = np.array([3.0, -2.0, 0.5])
    found = ActiveSet(np.eye(3), cross, 3.0, first_knot(cross)).solve(1e-12)
    np.testing.assert_allclose(weights_of(found, 3), [2, -1, 0], atol=1e-10)  # each one less by λ = 1
    assert found.level == pytest.approx(1)
