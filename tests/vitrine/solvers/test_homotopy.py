"""The path of the Lasso: every knot against scikit-learn's, and its closed form for orthonormal columns."""

import numpy as np
import pytest
from sklearn.linear_model import lars_path_gram

from vitrine.solvers.homotopy import BrokenPathError, Homotopy, Knot, first_knot
from vitrine.solvers.least_squares import Floats

pytestmark = pytest.mark.filterwarnings("ignore:(divide by zero|invalid value) encountered in divide")


def weights_of(knot: Knot, columns: int) -> Floats:
    weights = np.zeros(columns)
    weights[knot.active] = knot.values
    return weights


def knots_of(gram: Floats, cross: Floats) -> list[Knot]:
    path = Homotopy(gram, cross, first_knot(cross))
    knots = [path.knot()]
    while knots[-1].level > 0:
        path.step()
        knots.append(path.knot())
    return knots


@pytest.mark.parametrize("seed", range(4))
def test_knots_are_those_of_scikit_learn(seed: int) -> None:
    generator = np.random.default_rng(seed)
    x, y = generator.standard_normal((50, 12)), generator.standard_normal(50)
    gram, cross = x.T @ x, x.T @ y
    levels, _, weights = lars_path_gram(cross, gram, n_samples=1, method="lasso", alpha_min=0)
    knots = knots_of(gram, cross)
    assert len(knots) == len(levels)
    np.testing.assert_allclose([knot.level for knot in knots], levels, atol=1e-8)
    np.testing.assert_allclose([weights_of(knot, 12) for knot in knots], weights.T, atol=1e-8)
    norms = [knot.norm for knot in knots]
    assert norms == sorted(norms)
    np.testing.assert_allclose(norms, [np.abs(weights_of(knot, 12)).sum() for knot in knots])


def test_orthonormal_columns_join_by_their_correlation() -> None:
    knots = knots_of(np.eye(3), np.array([1.0, -3.0, 2.0]))
    assert [knot.level for knot in knots] == pytest.approx([3, 2, 1, 0])
    assert [knot.active.tolist() for knot in knots] == [[1], [1, 2], [1, 2, 0], [1, 2, 0]]
    np.testing.assert_allclose(weights_of(knots[2], 3), [0, -2, 1])
    np.testing.assert_allclose(weights_of(knots[3], 3), [1, -3, 2])


def test_a_path_goes_on_from_any_knot() -> None:
    generator = np.random.default_rng(7)
    x, y = generator.standard_normal((50, 8)), generator.standard_normal(50)
    gram, cross = x.T @ x, x.T @ y
    knots = knots_of(gram, cross)
    path = Homotopy(gram, cross, knots[3])
    path.step()
    np.testing.assert_allclose(weights_of(path.knot(), 8), weights_of(knots[4], 8), atol=1e-10)


def test_the_first_knot_is_zero() -> None:
    knot = first_knot(np.array([1.0, -3.0, 2.0]))
    assert (knot.norm, knot.level, knot.active.tolist(), knot.signs.tolist()) == (0, 3, [1], [-1])
    assert knot.values.tolist() == [0]


def test_a_knot_that_cannot_be_left_in_float64_is_told() -> None:
    column = np.ones((4, 1))
    gram = np.hstack([column, column]).T @ np.hstack([column, column])
    start = Knot(1.0, 1.0, np.array([0, 1]), np.array([0.5, 0.5]), np.array([1.0, -1.0]))
    with pytest.raises(BrokenPathError):
        Homotopy(gram, np.array([4.0, 4.0]), start).step()
