"""The backward passes of deconvnet and guided backprop at each rectifier, and rules that let a signal pass."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vitrine.attribution.autograd.calls import words
from vitrine.attribution.autograd.interception import Interception, Rule
from vitrine.attribution.autograd.rules import cast, deconvnet_rules, guided_rules, passes_unchanged

SIGNAL = torch.tensor([-2.0, 3.0, -1.0, 4.0])
X = torch.tensor([-1.0, -0.5, 0.5, 7.0])


def arrived(function: Callable[[Tensor], Tensor], rules: Mapping[str, Rule], x: Tensor = X) -> Tensor:
    leaf = x.clone().requires_grad_()
    with Interception(rules):
        output = function(leaf * 1)
    (signal,) = torch.autograd.grad(output, leaf, SIGNAL.to(output.dtype).expand_as(output))
    return signal


RELUS: list[Callable[[Tensor], Tensor]] = [
    F.relu,
    torch.ops.aten.relu.default,
    lambda x: x.clamp(min=0),
    lambda x: x.clip(min=torch.zeros(4)),
    lambda x: torch.maximum(x, torch.zeros(4)),
    lambda x: torch.max(torch.zeros(()), x),
    lambda x: torch.fmax(x, torch.zeros(1)),
]


@pytest.mark.parametrize("function", [*RELUS, F.relu6, F.gelu, F.silu, F.leaky_relu])
def test_deconvnet_passes_what_is_positive_of_the_signal(function: Callable[[Tensor], Tensor]) -> None:
    assert arrived(function, deconvnet_rules()).tolist() == [0, 3, 0, 4]


@pytest.mark.parametrize(
    ("function", "slopes"),
    [
        *((relu, [0, 0, 1, 1]) for relu in RELUS),
        (F.relu6, [0, 0, 1, 0]),
        (lambda x: F.leaky_relu(x, 0.25), [0.25, 0.25, 1, 1]),
        (lambda x: torch.clamp(x, 0, 5), [0, 0, 1, 0]),
    ],
)
def test_guided_backprop_has_the_slope_too(function: Callable[[Tensor], Tensor], slopes: list[float]) -> None:
    expected = SIGNAL.clamp(min=0) * torch.tensor(slopes)
    torch.testing.assert_close(arrived(function, guided_rules()), expected)


@pytest.mark.parametrize("rules", [deconvnet_rules(), guided_rules()])
def test_a_clamp_at_another_bound_is_no_rectifier(rules: Mapping[str, Rule]) -> None:
    plain = arrived(lambda x: x.clamp(min=-3), {})
    assert arrived(lambda x: x.clamp(min=-3), rules).tolist() == plain.tolist() == SIGNAL.tolist()
    assert arrived(lambda x: torch.maximum(x, torch.full((4,), -3.0)), rules).tolist() == plain.tolist()
    assert (
        arrived(lambda x: torch.maximum(x, torch.tensor([0, 0, 0, -3.0])), rules).tolist() != SIGNAL.clamp(0).tolist()
    )


def test_a_signal_that_passes_unchanged_is_summed_where_it_was_broadcast() -> None:
    rules: dict[str, Rule] = {"tanh": passes_unchanged, "mul": passes_unchanged}
    leaf = torch.ones(1, requires_grad=True)
    one = leaf * 1
    with Interception(rules):
        assert torch.autograd.grad(one.tanh(), leaf, torch.tensor([5.0]), retain_graph=True)[0].tolist() == [5]
        widened = one * torch.tensor([2.0, 3.0])
    assert torch.autograd.grad(widened, leaf, torch.tensor([5.0, 7.0]))[0].tolist() == [12]


def test_casts_to_less_than_float32_are_left_out() -> None:
    rules: Any = dict.fromkeys(words("to half bfloat16 double float"), cast)
    leaf = torch.ones(2, requires_grad=True)
    with Interception(rules):
        x = leaf * 1
        assert x.half() is x
        assert x.to(torch.bfloat16) is x
        assert x.double().dtype == torch.float64
        assert x.float() is x
