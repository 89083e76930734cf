"""Elementwise functions under LRP: activations pass relevance on; scales and gates are constants."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.helpers.lrp_relevance import random, relevance
from vitrine.attribution.lrp.composites import composite_named

ACTIVATIONS: list[Callable[[Tensor], Tensor]] = [
    F.relu, F.relu6, F.gelu, F.silu, F.hardswish, F.leaky_relu, F.elu, F.mish, F.softplus, torch.tanh, torch.sigmoid,
    lambda x: F.silu(x.clone(), inplace=True), lambda x: x.clamp(min=-0.5), lambda x: x**2, torch.abs,
    lambda x: F.local_response_norm(x, 2),
]  # fmt: skip


@pytest.mark.parametrize("function", ACTIVATIONS)
def test_activation_functions_pass_relevance_on(function: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    x, of = 4 * random(2, 3, 4, 4), random(2, 3, 4, 4)
    expected = torch.where(function(x) == 0, 0, of)
    torch.testing.assert_close(relevance(function, x, of), expected)


def test_softmax_has_its_taylor_expansion() -> None:
    torch.manual_seed(0)
    x, of = random(2, 5), random(2, 5)
    expected = x * (of - x.softmax(dim=1) * of.sum(dim=1, keepdim=True))
    torch.testing.assert_close(relevance(lambda x: x.softmax(dim=1), x, of), expected)
    held = relevance(lambda x: x.softmax(dim=1) * x, x, of, composite_named("epsilon", 0.0, attention="constant"))
    torch.testing.assert_close(held, of)


def mean_square(x: Tensor) -> Tensor:
    return x.pow(2).mean(dim=-1, keepdim=True) + 1e-6


SCALED: list[Callable[[Tensor], Tensor]] = [
    lambda x: x * torch.rsqrt(mean_square(x)), lambda x: x / mean_square(x).sqrt(), lambda x: x * mean_square(x).pow(-0.5),
    lambda x: x * mean_square(x) ** -0.5, lambda x: x * (1 / mean_square(x).sqrt()), lambda x: mean_square(x).rsqrt_() * x,
    lambda x: x * mean_square(x).sqrt().reciprocal(), lambda x: F.normalize(x, dim=1),
    lambda x: x / x.norm(dim=1, keepdim=True),
    lambda x: x * torch.linalg.vector_norm(x, dim=1, keepdim=True), lambda x: x * 2 ** mean_square(x),
    lambda x: x * x.std(dim=1, keepdim=True).exp(),
]  # fmt: skip


@pytest.mark.parametrize("function", SCALED)
def test_scales_in_any_spelling_are_constants(function: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    x, of = random(2, 6), random(2, 6)
    torch.testing.assert_close(relevance(function, x, of), of)


@pytest.mark.parametrize(
    "gate",
    [
        lambda x: x.sigmoid(),
        lambda x: F.hardsigmoid(x).view(3, 2).view(2, 3),
        lambda x: x[:, :1].sigmoid().expand(2, 3),
        lambda x: x.sigmoid().unsqueeze(2).squeeze(2),
        lambda x: 2 * x.sigmoid(),
        lambda x: 1 - x.sigmoid(),
        lambda x: x.sigmoid().t().contiguous().t() + 0.1,
    ],
)
def test_gates_are_known_below_scales_shifts_and_views(gate: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    x, of = random(2, 6), random(2, 3)
    for gated in (lambda f, g: f * g, lambda f, g: f.clone().mul_(g), _in_place_of_gate):
        found = relevance(lambda x, gated=gated: gated(x[:, :3], gate(x[:, 3:])), x, of)  # type: ignore[misc]
        torch.testing.assert_close(found, torch.cat([of, torch.zeros(2, 3)], dim=1))


def _in_place_of_gate(features: Tensor, gate: Tensor) -> Tensor:
    gate = gate.contiguous() if gate.stride() == (1, 0) else gate.clone()
    gate.mul_(features)
    return gate
