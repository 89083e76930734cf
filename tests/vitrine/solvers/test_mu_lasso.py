"""The μ-Lasso: optimality conditions, closed forms, degenerate cases, and what is refused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vitrine.solvers import MuLassoSolution, lasso_path, project_l1_ball, solve_mu_lasso, solve_mu_lasso_rows
from vitrine.solvers.active_set import ActiveSet
from vitrine.solvers.homotopy import BrokenPathError, Knot

Problem = tuple[Tensor, Tensor]
Make = Callable[..., Problem]
Solve = Callable[..., MuLassoSolution]


def from_sums(x: Tensor, labels: Tensor, mu: Any, tol: float = 1e-6, **options: Any) -> MuLassoSolution:
    x, labels = x.double(), labels.double()
    return solve_mu_lasso(x.T @ x, x.T @ labels, (labels**2).sum(dim=0), mu, tol, **options)


BOTH = pytest.mark.parametrize("solve", [from_sums, solve_mu_lasso_rows])


@pytest.fixture(params=["gaussian", "responses"])
def make(request: pytest.FixtureRequest, make_gaussian: Make, make_responses: Make) -> Make:
    return make_gaussian if request.param == "gaussian" else make_responses


def objective_of(x: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    return ((x @ weights - labels) ** 2).sum(dim=0)


def least_squares(x: Tensor, labels: Tensor) -> Tensor:
    return torch.from_numpy(np.linalg.lstsq(x.numpy(), labels.numpy())[0])


# What a minimum is


@BOTH
@pytest.mark.parametrize("sizes", [(60, 20, 3), (40, 120, 2), (150, 140, 2)])
@pytest.mark.parametrize("mu", [0.1, 3.0, 30.0])
def test_the_optimality_conditions_hold(make: Make, solve: Solve, sizes: tuple[int, int, int], mu: float) -> None:
    x, labels = make(*sizes)
    solution = solve(x, labels, mu)
    weights = solution.weights
    torch.testing.assert_close(solution.objective, objective_of(x, labels, weights), rtol=1e-9, atol=1e-12)
    assert (weights.abs().sum(dim=0) <= mu * (1 + 1e-12)).all()
    if not (solution.objective > 1e-9).all():
        return  # labels are met exactly; nothing but the objective is to be seen
    assert solution.converged.all()
    correlations = x.T @ (labels - x @ weights)
    level = correlations.abs().amax(dim=0)
    scale = x.norm(dim=0).max() * labels.norm(dim=0)
    off = (weights != 0) * (level - correlations * weights.sign())
    assert (off.abs() <= 1e-8 * scale).all()
    slack = mu - weights.abs().sum(dim=0)
    assert (slack * level <= 1e-8 * mu * scale).all()


@BOTH
def test_the_gap_bounds_the_distance_to_every_point(make: Make, solve: Solve) -> None:
    x, labels = make(50, 30, 2)
    solution = solve(x, labels, 2.0)
    points = torch.randn(200, 30, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    points = project_l1_ball(points + solution.weights, 2.0, dim=1)
    lowest = torch.stack([objective_of(x, labels, point) for point in points]).amin(dim=0)
    assert (solution.objective - solution.gap <= lowest).all()
    assert (solution.gap > 0).all()
    torch.testing.assert_close(solution.relative_gap, solution.gap / solution.objective)


@BOTH
def test_a_looser_tolerance_is_kept_too(make: Make, solve: Solve) -> None:
    x, labels = make(50, 30, 2)
    rough, fine = (solve(x, labels, 2.0, tol) for tol in (0.1, 1e-9))
    assert (rough.tol, fine.tol) == (0.1, 1e-9)
    assert rough.converged.all()
    assert fine.converged.all()
    assert (rough.objective - rough.gap <= fine.objective).all()


# Where the solution is known


@BOTH
def test_orthonormal_responses_give_soft_thresholds(solve: Solve) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.linalg.qr(torch.randn(40, 12, dtype=torch.float64, generator=generator)).Q
    labels = torch.randn(40, 5, dtype=torch.float64, generator=generator)
    solution = solve(x, labels, torch.tensor([0.1, 0.5, 1, 2, 100]))
    torch.testing.assert_close(solution.weights, project_l1_ball(x.T @ labels, solution.mu), atol=1e-12, rtol=0)
    assert solution.converged.all()


@BOTH
@pytest.mark.parametrize("mu", [0.01, 0.3, 50.0])
def test_one_filter(solve: Solve, mu: float) -> None:
    x = torch.tensor([[1.0], [2.0], [-1.0]])
    labels = torch.tensor([[1.0, -1.0], [2.0, 0.0], [1.0, 1.0]])
    expected = (x.T @ labels / x.square().sum()).double().clamp(-mu, mu)  # 2/3, -1/3
    torch.testing.assert_close(solve(x, labels, mu).weights, expected, check_dtype=False)


@BOTH
@pytest.mark.parametrize("sizes", [(60, 20, 3), (200, 150, 2), (20, 50, 2)])
@pytest.mark.parametrize("mu", [1e4, 1e6])
def test_a_huge_mu_is_least_squares(make: Make, solve: Solve, sizes: tuple[int, int, int], mu: float) -> None:
    x, labels = make(*sizes)
    solution = solve(x, labels, mu)
    expected = objective_of(x, labels, least_squares(x, labels))
    torch.testing.assert_close(solution.objective, expected, rtol=1e-9, atol=1e-9)
    assert solution.converged.all() or (expected < 1e-20).all()


@BOTH
def test_enough_room_gives_the_weights_of_least_squares(make_gaussian: Make, solve: Solve) -> None:
    x, labels = make_gaussian(60, 20, 3)
    solution = solve(x, labels, 1e9)
    torch.testing.assert_close(solution.weights, least_squares(x, labels))
    assert solution.converged.all()


@BOTH
def test_zero_labels_and_zero_responses_give_zero_weights(solve: Solve) -> None:
    x, labels = torch.rand(6, 4), torch.zeros(6, 2)
    solution = solve(x, labels, 1.0)
    assert not solution.weights.any()
    assert solution.relative_gap.tolist() == [0, 0]
    assert solution.converged.all()
    solution = solve(torch.zeros(6, 4), labels + 1, 1.0)
    assert not solution.weights.any()
    assert solution.objective.tolist() == [6, 6]
    assert solution.converged.all()


# Dead, dependent and far too many filters


@BOTH
@pytest.mark.parametrize("mu", [1.0, 10.0, 1e3])
def test_dead_and_repeated_filters_change_nothing(make_gaussian: Make, solve: Solve, mu: float) -> None:
    x, labels = make_gaussian(60, 20, 3)
    mixed = (x[:, :2] + x[:, 2:4]) / 2
    wider = torch.cat([torch.zeros(60, 2), x, -x[:, :4], x[:, 5:7], mixed, torch.zeros(60, 1)], dim=1)
    first, second = solve(x, labels, mu), solve(wider, labels, mu)
    assert second.converged.all()
    torch.testing.assert_close(second.objective, first.objective, rtol=1e-9, atol=0)
    assert not second.weights[[0, 1, -1]].any()
    assert ((second.weights != 0).sum(dim=0) <= 20).all()  # no more than there are independent ones


@BOTH
@pytest.mark.parametrize("mu", [1.0, 30.0, 1e3])
def test_nearly_dependent_filters_of_very_different_lengths(make: Make, solve: Solve, mu: float) -> None:
    x, labels = make(120, 40, 2)
    noise = torch.randn(120, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x = torch.cat([x, x + 1e-4 * x.std() * noise], dim=1) * torch.logspace(-2, 2, 80, dtype=torch.float64)
    solution = solve(x, labels, mu)
    assert solution.converged.all()
    torch.testing.assert_close(solution.objective, objective_of(x, labels, solution.weights), rtol=1e-6, atol=0)


@BOTH
def test_a_filter_that_does_more_for_less_replaces_dependent_ones(solve: Solve) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(30, 3, dtype=torch.float64, generator=generator)
    labels = x.sum(dim=1, keepdim=True)
    x = torch.cat([x, labels / 2], dim=1)
    solution = solve(x, labels, 1.0)  # with the first three alone, ‖w‖₁ = 3 is needed for as much
    torch.testing.assert_close(
        solution.weights[:, 0], torch.tensor([0, 0, 0, 1.0], dtype=torch.float64), atol=1e-9, rtol=0
    )


@BOTH
def test_labels_that_are_met_exactly_are_not_certified(make_gaussian: Make, solve: Solve) -> None:
    x, labels = make_gaussian(10, 30, 2)
    solution = solve(x, labels, 1e3)
    assert (solution.objective < 1e-12).all()
    assert (solution.gap < 1e-6).all()
    assert not solution.converged.any()
    assert (solution.relative_gap > solution.tol).all()
    assert solve(x, labels, 1.0).converged.all()


@BOTH
def test_a_tolerance_below_rounding_ends(make: Make, solve: Solve) -> None:
    x, labels = make(60, 20, 2)
    solution = solve(x, labels, 5.0, 1e-300)
    assert not solution.converged.any()
    assert (solution.relative_gap < 1e-9).all()


@BOTH
def test_the_active_set_alone_finds_the_same(make: Make, solve: Solve, monkeypatch: pytest.MonkeyPatch) -> None:
    x, labels = make(60, 140, 2)
    mus = (0.5, 5.0, 50.0)
    expected = [solve(x, labels, mu) for mu in mus]
    monkeypatch.setattr(lasso_path, "Homotopy", broken)
    mended = solve(x, labels, mus[0])
    for mu, other in zip(mus, expected, strict=True):
        mended = mended.at(mu)
        assert torch.equal(mended.converged, other.converged)
        torch.testing.assert_close(mended.objective, other.objective, rtol=1e-6, atol=1e-12)


@BOTH
def test_where_nothing_helps_the_last_known_weights_are_given(
    make_gaussian: Make, solve: Solve, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, labels = make_gaussian(60, 20, 2)
    solution = solve(x, labels, 1.0)
    monkeypatch.setattr(lasso_path, "Homotopy", broken)
    nothing = Knot(1.5, 1.0, np.arange(2), np.array([np.nan, 1.0]), np.ones(2))
    monkeypatch.setattr(ActiveSet, "solve", lambda _self, _enough: nothing)
    stuck = solution.at(100.0)
    assert stuck.weights.isfinite().all()
    torch.testing.assert_close(stuck.objective, objective_of(x, labels, stuck.weights))
    assert not stuck.converged.any()
    assert (stuck.objective - stuck.gap <= solve_least(x, labels)).all()


def solve_least(x: Tensor, labels: Tensor) -> Tensor:
    return objective_of(x, labels, least_squares(x, labels))


def broken(*_args: object) -> None:
    raise BrokenPathError


@settings(max_examples=60)
@given(
    st.integers(1, 8),
    st.integers(1, 10),
    st.sampled_from([2, 3, 1000]),
    st.sampled_from([0.1, 1.0, 3.0, 20.0, 1e3]),
    st.integers(0, 10_000),
)
def test_small_problems_full_of_ties(samples: int, filters: int, levels: int, mu: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(-levels + 1, levels, (samples, filters), generator=generator).double()
    labels = torch.randint(-1, 2, (samples, 2), generator=generator).double()
    found, other = from_sums(x, labels, mu), solve_mu_lasso_rows(x, labels, mu)
    torch.testing.assert_close(found.objective, other.objective, rtol=1e-6, atol=1e-9)
    for solution in (found, other):
        assert (solution.converged | (solution.objective < 1e-9)).all()
        assert (solution.gap <= 1e-6 * solution.objective + 1e-9 * max(mu * levels, 1)).all()


# The two ways in


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("block", [64, 1 << 20])
def test_rows_and_sums_agree(make: Make, dtype: torch.dtype, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, labels = make(90, 130, 3)
    x = x.to(dtype)
    monkeypatch.setattr("vitrine.solvers.least_squares._BLOCK_ELEMENTS", block)
    monkeypatch.setattr("vitrine.solvers.least_squares._MAX_IN_MEMORY_ELEMENTS", 0)
    labels = labels.to(dtype)
    for mu in (1.0, 5.0):
        first, second = from_sums(x, labels, mu, 1e-10), solve_mu_lasso_rows(x, labels, mu, 1e-10)
        torch.testing.assert_close(first.objective, second.objective, rtol=1e-8, atol=0)
        torch.testing.assert_close(first.weights, second.weights, rtol=1e-5, atol=1e-6 * mu)
        assert first.converged.all()
        assert second.converged.all()


@BOTH
def test_classes_do_not_depend_on_each_other(make: Make, solve: Solve) -> None:
    x, labels = make(40, 60, 4)
    mus = torch.tensor([0.5, 20, 1, 3])
    together = solve(x, labels, mus)
    torch.testing.assert_close(together.mu, mus, check_dtype=False)
    for index in range(4):
        alone = solve(x, labels[:, [index]], float(mus[index]))
        torch.testing.assert_close(alone.weights[:, 0], together.weights[:, index], rtol=1e-6, atol=1e-9)


@BOTH
def test_progress_is_told_of_each_class(make: Make, solve: Solve) -> None:
    told: list[int] = []
    solution = solve(*make(40, 130, 4), 3.0, advance=lambda: told.append(1))
    assert len(told) == 4
    solution.at(2.0, advance=lambda: told.append(1))
    assert len(told) == 8


@BOTH
def test_arguments_are_left_alone(make: Make, solve: Solve) -> None:
    x, labels = make(40, 20, 2)
    before = x.clone(), labels.clone()
    solve(x.requires_grad_(), labels, 3.0).at(5.0)
    assert torch.equal(x, before[0])
    assert torch.equal(labels, before[1])


# What is refused

X, LABELS = torch.rand(5, 3), torch.rand(5, 2)
BAD = torch.tensor([[1.0, torch.nan, 2], [1, 2, 3]])


@BOTH
@pytest.mark.parametrize(
    ("mu", "message"),
    [
        (0.0, "mu is 0.0; give a number above 0"),
        (-1.0, "above 0"),
        (float("nan"), "above 0"),
        (float("inf"), "mu is inf; give"),
        ([1.0, 0.0], "above 0"),
        ([1.0, 2.0, 3.0], "one for each of the 2 classes"),
    ],
)
def test_mu_is_positive(solve: Solve, mu: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        solve(X, LABELS, mu)
    with pytest.raises(ValueError, match=message):
        solve(X, LABELS, 1.0).at(mu)


@BOTH
@pytest.mark.parametrize("tol", [0.0, -1.0, float("nan"), float("inf")])
def test_the_tolerance_is_positive(solve: Solve, tol: float) -> None:
    with pytest.raises(ValueError, match=r"tol is .*; give a number above 0"):
        solve(X, LABELS, 1.0, tol)


@pytest.mark.parametrize(
    ("x", "labels", "message"),
    [
        (X, LABELS[:4], r"\(5, 3\) and \(4, 2\); give"),
        (X, LABELS[:, 0], r"\(5,\)"),
        (X[:0], LABELS[:0], r"\(0, 3\)"),
        (X[:, :0], LABELS, r"\(5, 0\)"),
        (X, LABELS[:, :0], r"\(5, 0\)"),
        (BAD, LABELS[:2], "NaN .* of filter 1"),
        (X[:2], BAD, "labels holds NaN"),
    ],
)
def test_rows_fit_together(x: Tensor, labels: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        solve_mu_lasso_rows(x, labels, 1.0)


GRAM, CROSS, SQUARES = X.T @ X, X.T @ LABELS, LABELS.square().sum(dim=0)


@pytest.mark.parametrize(
    ("gram", "cross", "label_sq", "message"),
    [
        (GRAM[:2], CROSS, SQUARES, r"\(2, 3\), \(3, 2\), \(2,\); give"),
        (GRAM, CROSS[:, 0], SQUARES, "shapes"),
        (GRAM, CROSS, SQUARES[:1], "shapes"),
        (GRAM, CROSS[:, :0], SQUARES[:0], "shapes"),
        (GRAM.tril(), CROSS, SQUARES, "symmetric"),
        (-GRAM, CROSS, SQUARES, "not of the same samples"),
        (GRAM, CROSS, SQUARES / 100, "not of the same"),
        (GRAM.clone().fill_diagonal_(torch.nan), CROSS, SQUARES, "gram holds NaN"),
    ],
)
def test_sums_fit_together(gram: Tensor, cross: Tensor, label_sq: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        solve_mu_lasso(gram, cross, label_sq, 1.0)
