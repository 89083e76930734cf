"""Systems on active columns: every update against a plain inverse."""

import numpy as np
import pytest

from vitrine.solvers.active_columns import DEPENDENT, ActiveColumns
from vitrine.solvers.least_squares import Floats


def gram_of(rows: int, columns: int, seed: int = 0) -> Floats:
    x = np.random.default_rng(seed).standard_normal((rows, columns))
    return np.asarray(x.T @ x)


def check(active: ActiveColumns, gram: Floats) -> None:
    """The active columns solve their system and give whole products."""
    right = np.linspace(1, 2, len(active.columns))
    solution, product = active.solve(right)
    np.testing.assert_allclose(
        solution, np.linalg.solve(gram[np.ix_(active.columns, active.columns)], right), rtol=1e-8
    )
    np.testing.assert_allclose(product, gram[:, active.columns] @ solution, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(active.product(right), gram[:, active.columns] @ right, rtol=1e-12, atol=1e-12)


def test_columns_come_and_go_one_by_one() -> None:
    gram, generator = gram_of(60, 50), np.random.default_rng(1)
    active = ActiveColumns(gram, np.array([3]))
    for _ in range(200):
        absent = np.setdiff1d(np.arange(50), active.columns)
        if len(active.columns) > 1 and (generator.random() < 0.4 or not len(absent)):
            before, position = active.columns.copy(), int(generator.integers(len(active.columns)))
            order = active.remove(position)
            np.testing.assert_array_equal(active.columns, before[order])
            assert sorted(active.columns) == sorted(np.delete(before, position))
        else:
            column = int(generator.choice(absent))
            active.add(column, *active.nearest(column))
            assert active.columns[-1] == column
        check(active, gram)


@pytest.mark.parametrize("count", [1, 5])
def test_the_nearest_point_of_the_span_is_a_projection(count: int) -> None:
    x = np.random.default_rng(2).standard_normal((30, 8))
    u, distance = ActiveColumns(x.T @ x, np.arange(count)).nearest(7)
    expected, residual, *_ = np.linalg.lstsq(x[:, :count], x[:, 7], rcond=None)
    np.testing.assert_allclose(u, expected, rtol=1e-8)
    assert distance == pytest.approx(float(residual[0]))


def test_a_dependent_column_has_no_distance() -> None:
    x = np.random.default_rng(3).standard_normal((30, 4))
    x[:, 3] = x[:, :3] @ [2.0, -1, 0.5]
    u, distance = ActiveColumns(x.T @ x, np.arange(3)).nearest(3)
    np.testing.assert_allclose(u, [2, -1, 0.5], rtol=1e-6)
    assert abs(distance) <= DEPENDENT * (x[:, 3] @ x[:, 3])


def test_the_bound_of_rounding_is_small_and_grows_with_the_weights() -> None:
    gram = gram_of(30, 5)
    active, cross = ActiveColumns(gram, np.arange(5)), np.ones(5)
    small, large = active.rounding(cross, np.ones(5)), active.rounding(cross, 1e6 * np.ones(5))
    assert 0 < small < 1e-11
    assert large > 1e4 * small
