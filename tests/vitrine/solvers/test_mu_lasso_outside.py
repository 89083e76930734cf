"""The μ-Lasso against spgl1, scikit-learn and cvxpy."""

from collections.abc import Callable
from typing import Any

import cvxpy
import numpy as np
import pytest
import torch
from sklearn.linear_model import lars_path, lars_path_gram
from spgl1 import spg_lasso
from torch import Tensor

from vitrine.solvers import MuLassoSolution, solve_mu_lasso, solve_mu_lasso_rows

Make = Callable[..., tuple[Tensor, Tensor]]
SIZES = pytest.mark.parametrize("sizes", [(80, 30, 2), (60, 130, 2)])


@pytest.fixture(params=["gaussian", "responses"])
def make(request: pytest.FixtureRequest, make_gaussian: Make, make_responses: Make) -> Make:
    return make_gaussian if request.param == "gaussian" else make_responses


def both(x: Tensor, labels: Tensor, mu: float) -> list[MuLassoSolution]:
    sums = solve_mu_lasso(x.T @ x, x.T @ labels, (labels**2).sum(dim=0), mu, 1e-9)
    return [sums, solve_mu_lasso_rows(x, labels, mu, 1e-9)]


def objective_of(x: Tensor, labels: Tensor, w: Any) -> float:
    return float(((x @ torch.as_tensor(w, dtype=x.dtype) - labels) ** 2).sum())


@SIZES
@pytest.mark.parametrize("mu", [0.5, 2.0, 10.0])
def test_spgl1(make: Make, sizes: tuple[int, int, int], mu: float) -> None:
    x, labels = make(*sizes)
    for solution in both(x, labels, mu):
        for index in range(2):
            # Below some 1e-7 its line search fails, and for a large μ it needs tens of thousands of steps.
            w, residual, *_ = spg_lasso(x.numpy(), labels[:, index].numpy(), mu, opt_tol=1e-6, iter_lim=5000)
            found, theirs = float(solution.objective[index]), objective_of(x, labels[:, index], w)
            correlations = x.T.numpy() @ residual
            gap = 2 * (mu * np.abs(correlations).max() - correlations @ w)
            assert gap <= 1e-4 * theirs  # it has come near, too
            assert found <= theirs * (1 + 1e-9)
            assert theirs - found <= gap + 1e-12 * theirs


@SIZES
@pytest.mark.parametrize("mu", [0.5, 2.0, 10.0, 40.0])
def test_cvxpy(make: Make, sizes: tuple[int, int, int], mu: float) -> None:
    x, labels = make(*sizes)
    w = cvxpy.Variable(sizes[1])
    for solution in both(x, labels, mu):
        for index in range(2):
            error = cvxpy.sum_squares(x.numpy() @ w - labels[:, index].numpy())
            cvxpy.Problem(cvxpy.Minimize(error), [cvxpy.norm1(w) <= mu]).solve(cvxpy.CLARABEL)
            theirs = objective_of(x, labels[:, index], w.value)
            assert float(solution.objective[index]) == pytest.approx(theirs, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("gram", [False, True])
def test_the_whole_path_of_scikit_learn(make_gaussian: Make, gram: bool) -> None:
    x, labels = make_gaussian(80, 40, 1)
    _, _, path = theirs_of(x, labels[:, 0], gram)
    compare(x, labels, path, rel=1e-8)


def test_the_path_of_responses_before_scikit_learn_meets_dependent_filters(make_responses: Make) -> None:
    x, labels = make_responses(80, 40, 1)
    labels = labels * torch.arange(1, 81)[:, None] % 7
    _, _, path = theirs_of(x[:, :-1], labels[:, 0], gram=False)
    path = np.concatenate([path, np.zeros((1, path.shape[1]))])
    compare(x, labels, path[:, np.abs(path).sum(axis=0) < 50], rel=1e-6)


def theirs_of(x: Tensor, label: Tensor, gram: bool) -> Any:
    if gram:
        cross, square = (x.T @ label).numpy(), (x.T @ x).numpy()
        return lars_path_gram(cross, square, n_samples=len(x), method="lasso")
    return lars_path(x.numpy(), label.numpy(), method="lasso")


def compare(x: Tensor, labels: Tensor, path: Any, rel: float) -> None:
    """The solution at, and half-way between, the breakpoints of another path."""
    points = np.concatenate([path[:, 1:], (path[:, 1:] + path[:, :-1]) / 2], axis=1)
    assert points.shape[1] > 15
    solution = solve_mu_lasso_rows(x, labels, float(np.abs(points).sum(axis=0).max()))
    for point in points.T:
        found = solution.at(float(np.abs(point).sum()))
        assert found.converged.all()
        assert float(found.objective[0]) == pytest.approx(objective_of(x, labels[:, 0], point), rel=rel)
        np.testing.assert_allclose(found.weights[:, 0], point, atol=1e-4 * np.abs(point).sum())
