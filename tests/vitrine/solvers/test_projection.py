"""The projection onto the ℓ1 ball: against a loop, cvxpy, its optimality conditions and finite differences."""

import cvxpy
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vitrine.solvers import project_l1_ball


def naive(w: list[float], radius: float) -> list[float]:
    """Sorts, and looks for the entries that stay (Duchi et al. 2008, figure 1)."""
    if sum(map(abs, w)) <= radius:
        return w
    falling = sorted(map(abs, w), reverse=True)
    threshold = falling[0]
    for count in range(1, len(w) + 1):
        candidate = (sum(falling[:count]) - radius) / count
        if falling[count - 1] > candidate:
            threshold = candidate
    return [np.sign(entry) * max(abs(entry) - threshold, 0) for entry in w]


numbers = st.floats(-100, 100, allow_subnormal=False)


@given(st.lists(numbers | st.sampled_from([0.0, 1.0, -1.0, 3.0]), min_size=1, max_size=12), st.floats(0, 150))
def test_equals_the_loop(w: list[float], radius: float) -> None:
    projected = project_l1_ball(torch.tensor(w, dtype=torch.float64), radius)
    np.testing.assert_allclose(projected.numpy(), naive(w, radius), atol=1e-11)


@given(st.lists(numbers, min_size=1, max_size=12), st.floats(0.01, 150))
def test_no_point_of_the_ball_is_nearer(w: list[float], radius: float) -> None:
    point = torch.tensor(w, dtype=torch.float64)
    projected = project_l1_ball(point, radius)
    away = point - projected
    assert projected.abs().sum() <= radius + 1e-12
    # The variational inequality: the largest (v − p)ᵀ(w − p) over the ball is at a corner.
    assert radius * away.abs().max() - away @ projected <= 1e-9


def test_equals_cvxpy() -> None:
    w = torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for column, projected in zip(w.T, project_l1_ball(w, 1.5).T, strict=True):
        v = cvxpy.Variable(7)
        cvxpy.Problem(cvxpy.Minimize(cvxpy.sum_squares(v - column.numpy())), [cvxpy.norm1(v) <= 1.5]).solve()
        np.testing.assert_allclose(projected.numpy(), v.value, atol=1e-6)


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_all_vectors_along_a_dimension_have_their_own_radius(dim: int) -> None:
    w = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    vectors = w.movedim(dim, -1)
    radii = torch.rand(vectors.shape[:-1], generator=torch.Generator().manual_seed(1)) * 4
    radii[0, 0] = 0
    expected = torch.stack([project_l1_ball(v, r) for v, r in zip(vectors.flatten(0, 1), radii.flatten(), strict=True)])
    torch.testing.assert_close(project_l1_ball(w, radii, dim), expected.view_as(vectors).movedim(-1, dim))
    assert not project_l1_ball(w, radii, dim).movedim(dim, -1)[0, 0].any()


@pytest.mark.parametrize("radius", [1.0, torch.tensor(1.0), torch.tensor([0.5, 1, 2, 100])])
def test_gradients_are_those_of_finite_differences(radius: float | Tensor) -> None:
    w = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(lambda w: project_l1_ball(w, radius), (w,))
    assert torch.autograd.gradcheck(lambda w: project_l1_ball(w.T, radius, dim=1), (w,))


def test_the_radius_has_a_gradient() -> None:
    w = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    radius = torch.tensor([0.5, 1, 2, 100], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(project_l1_ball, (w, radius))


def test_the_gradient_at_kinks() -> None:
    """On the sphere that of the inside, for an entry at the threshold that of one that does not stay, for radius 0 none."""
    for w, radius, expected in (
        ([0.25, -0.75, 0.0], 1.0, [1.0, 2.0, 3.0]),
        ([3.0, 1.0, -1.0], 2.0, [0.0, 0.0, 0.0]),  # θ = 1
        ([3.0, 3.0, 1.0], 4.0, [-0.5, 0.5, 0.0]),  # θ = 1
        ([2.0, -2.0, 1.0], 0.0, [0.0, 0.0, 0.0]),
    ):
        point = torch.tensor(w, requires_grad=True)
        (project_l1_ball(point, radius) * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
        assert point.grad is not None
        assert point.grad.tolist() == expected


def test_a_projection_is_left_as_it_is() -> None:
    w = torch.randn(1000, 8, generator=torch.Generator().manual_seed(0))
    once = project_l1_ball(w, 3.0)
    assert torch.equal(project_l1_ball(once, 3.0), once)


def test_inside_of_the_ball_the_gradient_is_one_also_at_zero() -> None:
    w = torch.tensor([0.0, 0.5, -0.2], requires_grad=True)
    for radius in (1.0, float("inf")):
        (gradient,) = torch.autograd.grad(project_l1_ball(w, radius).sum(), w)
        assert gradient.tolist() == [1, 1, 1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_types_are_kept_and_halves_are_summed_wider(dtype: torch.dtype) -> None:
    w = torch.randn(5000, generator=torch.Generator().manual_seed(0)).to(dtype)
    projected = project_l1_ball(w, 10.0)
    assert projected.dtype == dtype
    exact = project_l1_ball(w.double(), 10.0)
    torch.testing.assert_close(
        projected.double(), exact, atol=float(torch.finfo(dtype).eps), rtol=float(torch.finfo(dtype).eps)
    )


def test_long_vectors_in_float32() -> None:
    w = torch.rand(200_000, generator=torch.Generator().manual_seed(0)) + 10
    assert project_l1_ball(w, 1000.0).double().abs().sum().item() == pytest.approx(1000, rel=1e-3)


def test_nothing_to_project() -> None:
    assert project_l1_ball(torch.zeros(0, 3), 1.0).shape == (0, 3)
    assert project_l1_ball(torch.zeros(3, 0), 1.0).shape == (3, 0)


@pytest.mark.parametrize(
    ("w", "radius", "message"),
    [
        (torch.ones(3), -1.0, "radius is -1.*; give 0 or more"),
        (torch.ones(3, 4), torch.ones(3), r"radius is of shape \(3,\); give .* \(4,\)"),
        (torch.ones(3), float("nan"), "radius is nan; give 0 or more"),
        (torch.tensor([1.0, float("nan")]), 1.0, "NaN or infinity"),
        (torch.tensor([1.0, float("inf")]), 1.0, "NaN or infinity"),
        (torch.ones(3, dtype=torch.long), 1.0, "w is of type torch.int64"),
    ],
)
def test_what_cannot_be_projected_is_refused(w: Tensor, radius: float | Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        project_l1_ball(w, radius)
