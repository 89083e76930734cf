"""LRP rules of normalisations by statistics of the sample: these are constants, and centring is linear."""

from typing import Any

import torch
from torch import Tensor

from vitrine.attribution.autograd.calls import Call, carries
from vitrine.attribution.autograd.interception import Rule, with_backward
from vitrine.attribution.lrp.elementwise import activation
from vitrine.attribution.lrp.products import with_replaced


def normalisation_rules() -> dict[str, Rule]:
    """Rules by operator name."""
    return {
        "layer_norm": _with_bias(_layer_norm, 3, over_channels=False),
        "group_norm": _with_bias(_group_norm, 3, over_channels=True),
        "instance_norm": _with_bias(_instance_norm, 4, over_channels=True),
        "rms_norm": _rms_norm,
        "local_response_norm": activation,  # with its denominator as a constant, it is a factor of each element
    }


def _with_bias(rule: Rule, bias_at: int, *, over_channels: bool) -> Rule:
    """The rule of a normalisation, whose bias is a summand like any other if it depends on the pixels itself."""

    def normalise(call: Call) -> Any:
        x, bias = call.operand, call.argument(bias_at, "bias")
        if not carries(x):
            return NotImplemented
        if not carries(bias):
            return rule(call)
        without: Tensor = rule(with_replaced(call, {id(bias): torch.zeros_like(bias)}))
        return without + (bias.view(-1, *[1] * (x.ndim - 2)) if over_channels else bias)

    return normalise


def _layer_norm(call: Call) -> Tensor:
    x, shape = call.argument(0, "input"), call.argument(1, "normalized_shape")
    weight, bias, eps = call.argument(2, "weight"), call.argument(3, "bias"), call.argument(4, "eps", 1e-5)
    with torch.no_grad():
        output, _, scale = torch.native_layer_norm(x, shape, weight, bias, eps)
    factor = scale if weight is None else scale * weight.detach()
    dims = tuple(range(x.ndim - len(shape), x.ndim))

    def backward(signal: Tensor) -> tuple[Tensor]:
        scaled_signal = signal * factor
        return (scaled_signal.sub_(scaled_signal.mean(dim=dims, keepdim=True)),)

    return with_backward(lambda: output, backward, x)


def _group_norm(call: Call) -> Tensor:
    x, groups = call.argument(0, "input"), call.argument(1, "num_groups")
    weight, eps = call.argument(2, "weight"), call.argument(4, "eps", 1e-5)
    return _by_groups(call, x, groups, weight, eps)


def _instance_norm(call: Call) -> Any:
    x, weight = call.argument(0, "input"), call.argument(3, "weight")
    if call.argument(5, "use_input_stats", default=True) is False:
        return call()  # by running statistics, as a batch norm
    return _by_groups(call, x, x.shape[1], weight, call.argument(7, "eps", 1e-5))


def _by_groups(call: Call, x: Tensor, groups: int, weight: Tensor | None, eps: float) -> Tensor:
    grouped = x.detach().reshape(len(x), groups, -1)
    scale = torch.rsqrt(grouped.var(dim=2, correction=0, keepdim=True) + eps)
    over_channels = None if weight is None else weight.detach().view(1, -1, *[1] * (x.ndim - 2))
    shape = x.shape

    def backward(signal: Tensor) -> tuple[Tensor]:
        weighted = signal if over_channels is None else signal * over_channels
        by_group = weighted.reshape(len(signal), groups, -1) * scale
        return ((by_group - by_group.mean(dim=2, keepdim=True)).reshape(shape),)

    return with_backward(call, backward, x)


def _rms_norm(call: Call) -> Tensor:
    x, shape = call.argument(0, "input"), call.argument(1, "normalized_shape")
    weight, eps = call.argument(2, "weight"), call.argument(3, "eps")
    dims = tuple(range(x.ndim - len(shape), x.ndim))
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    scale = torch.rsqrt(x.detach().square().mean(dim=dims, keepdim=True) + eps)
    factor = scale if weight is None else scale * weight.detach()
    return with_backward(call, lambda signal: (signal * factor,), x)
