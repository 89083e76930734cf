"""LRP rules of weighted operators against their formulas, summed over all pairs of inputs and outputs."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vitrine.attribution.lrp.weighted_rules import (
    STABILISER,
    AlphaBeta,
    Epsilon,
    Flat,
    Gamma,
    Weighted,
    WSquare,
    ZBox,
    ZPlus,
)

IN, OUT = 5, 4


def weighted(bias: bool = True) -> Weighted:
    x, weight = torch.randn(1, IN, dtype=torch.double), torch.randn(OUT, IN, dtype=torch.double)
    shift = torch.randn(OUT, dtype=torch.double) if bias else None
    return Weighted(F.linear, x, weight, shift, F.linear(x, weight, shift))


def shared(contributions: Tensor, totals: Tensor, relevance: Tensor, epsilon: float = STABILISER) -> Tensor:
    """Σ_i c_ij R_i / (t_i ± ε), by loops."""
    received = torch.zeros(IN, dtype=torch.double)
    for i in range(OUT):
        for j in range(IN):
            sign = -1 if totals[i] < 0 else 1
            received[j] += contributions[i, j] * relevance[i] / (totals[i] + sign * epsilon)
    return received


def positive_part(call: Weighted, sign: int = 1) -> tuple[Tensor, Tensor]:
    """Positive (or negative) contributions, and their sum with that part of the bias."""
    contributions = (call.weight * call.x * sign).clamp(min=0) * sign
    bias = 0 if call.bias is None else (call.bias * sign).clamp(min=0) * sign
    return contributions, contributions.sum(dim=1) + bias


def epsilon(call: Weighted, relevance: Tensor) -> Tensor:
    return shared(call.weight * call.x, call.output[0], relevance, 0.1)


def z_plus(call: Weighted, relevance: Tensor) -> Tensor:
    return shared(*positive_part(call), relevance)


def alpha_beta(call: Weighted, relevance: Tensor) -> Tensor:
    return 2 * z_plus(call, relevance) - shared(*positive_part(call, -1), relevance)


def gamma(call: Weighted, relevance: Tensor) -> Tensor:
    total = torch.zeros(IN, dtype=torch.double)
    plain = call.weight * call.x
    for sign in (1, -1):
        part, with_bias = positive_part(call, sign)
        is_sign = torch.sign(call.output[0]) == sign
        total += shared(
            plain + 0.3 * part, call.output[0] + 0.3 * with_bias, relevance.where(is_sign, torch.zeros(OUT))
        )
    return total


@pytest.mark.parametrize(
    ("rule", "formula"),
    [(Epsilon(0.1), epsilon), (ZPlus(), z_plus), (AlphaBeta(2, 1), alpha_beta), (Gamma(0.3), gamma)],
)
@pytest.mark.parametrize("bias", [False, True])
def test_a_signal_times_the_input_is_the_relevance(
    rule: Any, formula: Callable[[Weighted, Tensor], Tensor], bias: bool
) -> None:
    torch.manual_seed(3)
    call, signal = weighted(bias), torch.randn(1, OUT, dtype=torch.double)
    found = rule.backward(call)(signal) * call.x
    torch.testing.assert_close(found[0], formula(call, (signal * call.output)[0]), rtol=1e-9, atol=1e-9)


def test_of_the_first_layer() -> None:
    torch.manual_seed(4)
    call, signal = weighted(), torch.randn(1, OUT, dtype=torch.double)
    relevance, weight = (signal * call.output)[0], call.weight
    low, high = -3.0, 2.5
    box = weight * call.x - weight.clamp(min=0) * low - weight.clamp(max=0) * high
    assert (box[:, call.x[0].clamp(low, high) == call.x[0]] >= 0).all()
    for rule, contributions in (
        (Flat(), torch.ones_like(weight)),
        (WSquare(), weight**2),
        (ZBox(low, high), box),
        (ZBox(), weight * call.x - weight.clamp(min=0) * call.x.min() - weight.clamp(max=0) * call.x.max()),
    ):
        found = rule.backward(call)(signal)[0]
        torch.testing.assert_close(found, shared(contributions, contributions.sum(dim=1), relevance))
        torch.testing.assert_close(found.sum(), relevance.sum(), rtol=1e-4, atol=0)


def test_bounds_of_a_map_are_those_of_each_image_and_channel() -> None:
    torch.manual_seed(5)
    x, weight = torch.rand(2, 3, 5, 5, dtype=torch.double), torch.randn(4, 3, 3, 3, dtype=torch.double)
    call = Weighted(F.conv2d, x, weight, None, F.conv2d(x, weight))
    signal = torch.randn_like(call.output)
    both = ZBox().backward(call)(signal)
    for image in range(2):
        alone = call._replace(x=x[image : image + 1], output=call.output[image : image + 1])
        torch.testing.assert_close(ZBox().backward(alone)(signal[image : image + 1])[0], both[image])
    least, most = x[0].amin(dim=(1, 2)).tolist(), x[0].amax(dim=(1, 2)).tolist()
    first = call._replace(x=x[:1], output=call.output[:1])
    torch.testing.assert_close(ZBox(tuple(least), tuple(most)).backward(first)(signal[:1])[0], both[0])


def test_a_backward_pass_can_be_repeated() -> None:
    call = weighted()
    backward = Gamma().backward(call)
    signals = torch.randn(2, 1, OUT, dtype=torch.double)
    torch.testing.assert_close(backward(signals[0]) + backward(signals[1]), backward(signals.sum(dim=0)))
