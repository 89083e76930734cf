"""The penalised Lasso: scikit-learn's on the same data, its optimality conditions, its certificate."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Lasso
from torch import Tensor

from vitrine.solvers.lasso import duality_gap, solve_lasso


def problem(samples: int, features: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """X and y, of which a few columns give y; columns are correlated and of different scales."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, features, generator=generator, dtype=torch.float64)
    x = (x + 0.5 * x.roll(1, dims=1)) * torch.linspace(0.5, 2, features, dtype=torch.float64)
    noise = torch.randn(samples, generator=generator, dtype=torch.float64)
    return x, 3 * x[:, 0] - 2 * x[:, 1] + x[:, -1] + 0.3 * noise


def moments(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return x.T @ x / len(x), x.T @ y / len(x), y @ y / len(x)


def objective(x: Tensor, y: Tensor, alpha: float, w: Tensor) -> float:
    return float((x @ w - y).square().mean() / 2 + alpha * w.abs().sum())


@pytest.mark.parametrize(("samples", "features"), [(60, 8), (15, 40)], ids=["N > d", "N < d"])
@pytest.mark.parametrize("alpha", [0.01, 0.2, 1.0, 3.0])
def test_it_is_scikit_learns_lasso(samples: int, features: int, alpha: float) -> None:
    x, y = problem(samples, features)
    w = solve_lasso(*moments(x, y), alpha, tol=1e-9)
    outside = Lasso(alpha=alpha, fit_intercept=False, tol=1e-12, max_iter=1_000_000).fit(x.numpy(), y.numpy())
    torch.testing.assert_close(w, torch.from_numpy(outside.coef_), atol=2e-3, rtol=1e-3)
    assert objective(x, y, alpha, w) == pytest.approx(objective(x, y, alpha, torch.from_numpy(outside.coef_)), rel=1e-6)
    assert np.array_equal(w.numpy() != 0, outside.coef_ != 0) or alpha < 0.1


@pytest.mark.parametrize(("samples", "features"), [(60, 8), (15, 40)], ids=["N > d", "N < d"])
def test_conditions_of_optimality(samples: int, features: int) -> None:
    """The residual correlates with an active column by ±α, and with no other by more."""
    alpha = 0.3
    gram, cross, target_sq = moments(*problem(samples, features, seed=1))
    w = solve_lasso(gram, cross, target_sq, alpha, tol=1e-12)
    correlation = cross - gram @ w
    active = w != 0
    assert 0 < int(active.sum()) < features
    torch.testing.assert_close(correlation[active], alpha * w[active].sign(), atol=1e-4, rtol=0)
    assert float(correlation.abs().max()) <= alpha + 1e-4


def test_a_large_alpha_leaves_nothing_and_a_bit_less_leaves_one() -> None:
    gram, cross, target_sq = moments(*problem(60, 8))
    largest = float(cross.abs().max())
    assert not solve_lasso(gram, cross, target_sq, largest * 1.0001).any()
    assert solve_lasso(gram, cross, target_sq, largest * 0.99, tol=1e-10).nonzero().flatten().tolist() == [
        int(cross.abs().argmax())
    ]


def test_without_a_penalty_it_is_least_squares() -> None:
    x, y = problem(60, 8)
    w = solve_lasso(*moments(x, y), 0.0)
    torch.testing.assert_close(w, torch.linalg.lstsq(x, y[:, None]).solution[:, 0])
    wide, y = problem(5, 8)
    w = solve_lasso(*moments(wide, y), 0.0)
    torch.testing.assert_close(w, torch.linalg.pinv(wide) @ y, atol=1e-8, rtol=1e-6)


def test_a_constant_target_has_no_weights() -> None:
    x, _ = problem(20, 4)
    gram = x.T @ x / 20
    for rounding in (0.0, -1e-17):
        target_sq = torch.tensor(rounding, dtype=torch.float64)
        assert not solve_lasso(gram, torch.zeros(4, dtype=torch.float64), target_sq, 0.1).any()


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_sums_that_are_not_finite_are_refused(wrong: float) -> None:
    gram, cross, target_sq = torch.eye(3).double(), torch.ones(3).double(), torch.tensor(1.0).double()
    for place in (gram[1, :1], cross[:1], target_sq):
        kept = place.clone()
        place.fill_(wrong)
        with pytest.raises(ValueError, match="NaN or infinity"):
            solve_lasso(gram, cross, target_sq, alpha=0.1)
        place.copy_(kept)


def test_a_negative_alpha_is_refused() -> None:
    with pytest.raises(ValueError, match=r"alpha is -0\.1; give 0 or more"):
        solve_lasso(*moments(*problem(9, 3)), -0.1)


def test_what_does_not_converge_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitrine.solvers.lasso.MAX_STEPS", 2)
    with pytest.raises(ValueError, match=r"did not converge for alpha 0\.01"):
        solve_lasso(*moments(*problem(15, 40)), 0.01)


@settings(max_examples=50)
@given(
    samples=st.integers(2, 30),
    features=st.integers(2, 12),
    alpha=st.floats(1e-3, 5.0),
    seed=st.integers(0, 1000),
    size=st.sampled_from([0.0, 0.1, 1.0, 10.0]),
)
def test_the_gap_bounds_the_distance_from_the_optimum(
    samples: int, features: int, alpha: float, seed: int, size: float
) -> None:
    x, y = problem(samples, features, seed)
    w = size * torch.randn(features, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    gap = float(duality_gap(*moments(x, y), alpha, w))
    best = Lasso(alpha=alpha, fit_intercept=False, tol=1e-10, max_iter=1_000_000).fit(x.numpy(), y.numpy())
    above = objective(x, y, alpha, w) - objective(x, y, alpha, torch.from_numpy(best.coef_))
    assert gap >= above - 1e-9 * (1 + abs(above))
