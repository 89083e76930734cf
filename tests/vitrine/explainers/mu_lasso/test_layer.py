"""The μ-Lasso as a layer: gradients through the projection, exact zeros, and the optimum of a loss of one's own."""

from typing import Any

import cvxpy
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from vitrine.explainers.mu_lasso import MuLassoLayer
from vitrine.solvers import solve_mu_lasso_rows


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def trained(layer: MuLassoLayer, x: Tensor, loss: Any, lr: float, steps: int = 3000) -> None:
    optimizer = torch.optim.SGD(layer.parameters(), lr=lr, momentum=0.9, nesterov=True)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(layer(x)).backward()
        optimizer.step()
        layer.project_()


@pytest.mark.parametrize("size", [0.01, 1.0, 30.0], ids=["inside", "both", "outside"])
@pytest.mark.parametrize("bias", [True, False])
def test_gradients_are_those_of_finite_differences(size: float, *, bias: bool) -> None:
    layer = MuLassoLayer(7, 4, mu=5.0, bias=bias).double()
    weight, x = (size * drawn(7, 4)).requires_grad_(), drawn(3, 7, seed=1).requires_grad_()
    inside = weight.detach().abs().sum(dim=0) <= 5
    assert bool(inside.all()) == (size == 0.01)
    assert bool(inside.any()) == (size < 30)

    def scores(weight: Tensor, x: Tensor) -> Tensor:
        return functional_call(layer, {"weight": weight}, (x,))

    assert torch.autograd.gradcheck(scores, (weight, x))
    assert torch.autograd.gradgradcheck(scores, (weight, x))


def test_outside_the_gradient_lies_in_the_face() -> None:
    """The gradient is orthogonal to the signs on the entries that stay, and 0 on the others."""
    layer = MuLassoLayer(20, 3, mu=5.0).double()
    layer.weight.data.copy_(drawn(20, 3))
    (layer.weights * drawn(20, 3, seed=1)).sum().backward()
    gradient, signs = layer.weight.grad, layer.weights.detach().sign()
    assert gradient is not None
    assert not gradient[signs == 0].any()
    assert gradient[signs != 0].all()
    torch.testing.assert_close((signs * gradient).sum(dim=0), torch.zeros(3, dtype=torch.float64), atol=1e-12, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_projected_weights_are_in_the_ball_and_all_have_a_gradient(dtype: torch.dtype, size: float) -> None:
    layer = MuLassoLayer(500, 6, mu=3.0).to(dtype)
    layer.weight.data.copy_(size * drawn(500, 6))
    before = layer.weights.detach().clone()
    layer.project_()
    norms = layer.weight.detach().double().abs().sum(dim=0)
    assert bool((norms <= 3.0).all())
    assert size < 1 or float(norms.min()) > 2.9
    assert torch.equal(layer.weight != 0, before != 0) or dtype in {torch.float16, torch.bfloat16}
    layer.weights.sum().backward()
    assert layer.weight.grad is not None
    assert torch.equal(layer.weight.grad, torch.ones_like(layer.weight))


def test_the_squared_error_has_the_optimum_and_support_of_the_exact_solver() -> None:
    x, labels = drawn(80, 12), drawn(80, 3, seed=1)
    exact = solve_mu_lasso_rows(x, labels, mu=0.4, tol=1e-12)
    layer = MuLassoLayer(12, 3, mu=0.4, bias=False).double()
    trained(layer, x, lambda scores: (scores - labels).square().mean(), lr=0.5, steps=1000)
    torch.testing.assert_close(layer.weights.detach(), exact.weights, atol=1e-8, rtol=0)
    assert torch.equal(layer.selected, exact.weights != 0)


def test_cross_entropy_has_the_optimum_that_another_solver_finds() -> None:
    x = drawn(90, 8)
    labels = (x[:, :3] + 0.5 * drawn(90, 3, seed=1)).argmax(dim=1)
    layer = MuLassoLayer(8, 3, mu=0.8).double()
    trained(layer, x, lambda scores: torch.nn.functional.cross_entropy(scores, labels), lr=1.0)
    w, b = cvxpy.Variable((8, 3)), cvxpy.Variable((1, 3))
    scores = x.numpy() @ w + np.ones((90, 1)) @ b
    hot = torch.nn.functional.one_hot(labels).numpy()
    loss = cvxpy.sum(cvxpy.log_sum_exp(scores, axis=1)) - cvxpy.sum(cvxpy.multiply(hot, scores))
    problem = cvxpy.Problem(cvxpy.Minimize(loss / 90), [cvxpy.norm1(w[:, j]) <= 0.8 for j in range(3)])
    best = problem.solve(cvxpy.CLARABEL)
    found = torch.nn.functional.cross_entropy(layer(x), labels)
    assert float(found.detach()) == pytest.approx(best, rel=1e-6)
    assert torch.equal(layer.selected, torch.tensor(np.abs(w.value) > 1e-4))
    assert not layer.selected.all()


def test_autocast_leaves_scores_in_full() -> None:
    layer, x = MuLassoLayer(5, 2), torch.rand(3, 5)
    layer.weight.data.copy_(torch.rand(5, 2))
    expected = layer(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer(x), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, 2, 0.0), "mu is 0.0; give a number above 0"),
        ((0, 2, 1.0), "num_features is 0"),
        ((3, 0), "num_classes is 0"),
    ],
)
def test_what_makes_no_layer_is_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MuLassoLayer(*arguments)
