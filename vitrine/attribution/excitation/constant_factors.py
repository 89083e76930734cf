"""Rules of excitation backprop for constant factors, such as batch norm, layer scale and frozen batch norm.

A constant factor s is folded into the convolution or linear layer before it, whose weight is then s W, also if dropout,
constants that are added, other constant factors, or operators that rearrange values are in between. After any other
operator it passes mass unchanged.
"""

from collections.abc import Callable, MutableMapping
from typing import Any, cast

import torch
from torch import Tensor
from torch._ops import OpOverload, OpOverloadPacket
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge

from vitrine.attribution.autograd.backward import vjp_at
from vitrine.attribution.autograd.calls import Call, carries
from vitrine.attribution.autograd.interception import Rule, backward_of, with_backward
from vitrine.attribution.autograd.node_origins import kind
from vitrine.attribution.excitation.linear_rules import Source
from vitrine.attribution.excitation.passing import Shift, origin, other_written, shifted
from vitrine.attribution.excitation.winning_probability import LinearBackward, ScaledBackward


class ConstantFactors:
    """Rules of operators that multiply by constants, for one forward pass.

    Args:
        sources: of the weighted operators, see `vitrine.attribution.excitation.linear_rules.LinearRules`.
    """

    def __init__(self, sources: MutableMapping[LinearBackward, Source]) -> None:
        self.sources = sources

    def scaled(self, call: Call, x: Tensor, factor: Any) -> Any:
        """The value of a call that multiplies ``x`` by a constant, and may add constants."""
        sign = torch.as_tensor(factor, device=x.device).detach().sign()
        if (sign > 0).all():
            return shifted(call, x)
        node = weighted_before(x)
        linear = backward_of(node)
        if node is None or not isinstance(linear, LinearBackward):
            return NotImplemented if _is_partly_weighted(x) else shifted(call, x)
        source = self.sources[linear]
        scale = _over_weight(sign, linear, source, x) if _is_direct(x, node) else None
        folded = (
            ScaledBackward(linear, sign, _way_down(x, node))
            if scale is None
            else LinearBackward(linear.operator, linear.activations, linear.weight, scale)
        )
        self.sources[folded] = source
        return with_backward(call, folded, source.handle, *other_written(call, source.handle))

    def divide(self, call: Call) -> Any:
        """A division by a constant."""
        a, b = call.argument(0, "input"), call.argument(1, "other")
        return self.scaled(call, a, b) if carries(a) and not carries(b) else NotImplemented

    def negate(self, call: Call) -> Any:
        """A factor of −1."""
        return self.scaled(call, call.operand, -1)

    def addcmul(self, call: Call) -> Any:
        """A + value · b · c, where one of the three depends on the pixels."""
        a, b, c = (call.argument(i, name) for i, name in enumerate(("input", "tensor1", "tensor2")))
        value = call.kwargs.get("value", 1)
        return self._product_or_sum(call, a, {b: value * c, c: value * b})

    def addcdiv(self, call: Call) -> Any:
        """A + value · b / c, where a or b depends on the pixels."""
        a, b, c = (call.argument(i, name) for i, name in enumerate(("input", "tensor1", "tensor2")))
        return NotImplemented if carries(c) else self._product_or_sum(call, a, {b: call.kwargs.get("value", 1) / c})

    def lerp(self, call: Call) -> Any:
        """A + w (b − a), where one of the three depends on the pixels."""
        a, b, w = (call.argument(i, name) for i, name in enumerate(("input", "end", "weight")))
        if isinstance(w, Tensor):
            return self._product_or_sum(call, None, {a: 1 - w, b: w, w: b - a})
        return self._product_or_sum(call, None, {a: 1 - w, b: w})

    def _product_or_sum(self, call: Call, summand: Tensor | None, factors: dict[Tensor, Any]) -> Any:
        """The value of a call in which one operand depends on the pixels: the summand, or one that has a factor."""
        if len(call.carriers()) != 1:
            return NotImplemented
        (carrier,) = call.carriers()
        if carrier is summand:
            return shifted(call, summand)
        return next((self.scaled(call, x, factor) for x, factor in factors.items() if x is carrier), NotImplemented)

    def depthwise(self, call: Call, otherwise: Rule) -> Any:
        """A convolution of every channel alone by one number; ``otherwise`` is the rule of all other convolutions."""
        x, weight = call.argument(0, "input"), call.argument(1, "weight")
        channels = call.argument(6, "groups", 1)
        places = [call.argument(3, "stride", 1), call.argument(4, "padding", 0)]
        is_factor = weight.shape == (channels, *[1] * (weight.ndim - 1)) and channels > 1
        if not (
            is_factor and carries(x) and len(call.carriers()) == 1 and _is_each(places[0], 1) and _is_each(places[1], 0)
        ):
            return otherwise(call)
        return self.scaled(call, x, weight[:, 0])

    def batch_norm(self, call: Call) -> Any:
        """A batch norm in eval mode, whose factor is γ / √(σ² + ε).

        Raises:
            ValueError: if it normalises by the batch, so that a map would depend on the other images.
        """
        x = call.operand
        if not carries(x):
            return NotImplemented
        return self.scaled(call, x, _batch_norm_factor(call).view(-1, *[1] * (x.ndim - 2)))


def weighted_before(x: Tensor) -> Node | None:
    """The node of the convolution or linear layer whose output a tensor is, but for factors, shifts and rearrangements."""
    edge = origin(x)
    backward = None if edge is None else backward_of(edge[0])
    return edge[0] if edge is not None and isinstance(backward, LinearBackward) and backward.is_weighted else None


def _is_partly_weighted(x: Tensor) -> bool:
    """Whether a tensor was written to in part, and other parts are what a convolution or linear layer gave.

    Autograd does not say which parts.
    """
    edge = origin(x)
    if edge is None or kind(edge[0]) != "CopySlices":
        return False
    below = [origin(child) for child, _ in edge[0].next_functions]
    return any(
        found and (isinstance(backward_of(found[0]), LinearBackward) or kind(found[0]) == "CopySlices")
        for found in below
    )


def _way_down(x: Tensor, node: Node) -> Callable[[Tensor], Tensor]:
    """Takes mass at a product to the output of the node, by way of the factor's operand ``x``."""
    shape, top = x.shape, get_gradient_edge(x)  # not the tensor, see `LinearRules.sources`
    if top.node is node:
        return lambda mass: mass.sum_to_size(shape)
    return lambda mass: cast(Tensor, vjp_at(top, GradientEdge(node, 0), mass.sum_to_size(shape)))


def _is_direct(x: Tensor, node: Node) -> bool:
    """Whether nothing rearranges or widens values between the node and what ``x`` is."""
    above: Node | None = get_gradient_edge(x).node
    while above is not None and above is not node:
        backward = backward_of(above)
        if not isinstance(backward, Shift) or backward.shape != x.shape:
            return False
        above = above.next_functions[0][0]
    return True


def _over_weight(sign: Tensor, linear: LinearBackward, source: Source, product: Tensor) -> Tensor | None:
    """A factor of the output channels in a shape that broadcasts to the weight; None if it has other factors."""
    weight = cast(Tensor, linear.weight)
    dims = weight.ndim - 2  # 0 of a linear layer, whose channels come last
    if type(linear) is not LinearBackward or not source.is_layer or weight.ndim < 2 or sign.ndim > product.ndim:
        return None
    scale = sign.reshape(-1)
    channels = product.shape[-1 - dims]
    if sign.numel() != 1 and (sign.numel() != channels or sign.ndim <= dims or sign.shape[-1 - dims] != channels):
        return None
    if source.groups_if_transposed is None or len(scale) == 1:  # (C_out, C_in / groups, …)
        over = scale.view(-1, *[1] * (weight.ndim - 1))
    else:  # (C_in, C_out / groups, …), the input channels of a group together
        groups = source.groups_if_transposed
        per_group = scale.view(groups, -1).repeat_interleave(len(weight) // groups, dim=0)
        over = per_group.view(*per_group.shape, *[1] * dims)
    return over if linear.scale is None else over * linear.scale


def _is_each(value: Any, number: int) -> bool:
    """Whether a stride or padding is the number in every direction."""
    if isinstance(value, str):
        return number == 0  # "same" and "valid" do not pad a kernel of size 1
    return value == number if isinstance(value, int) else all(x == number for x in value)


def _batch_norm_factor(call: Call) -> Tensor:
    names = ["input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"]
    if call.function is torch.batch_norm or isinstance(call.function, OpOverload | OpOverloadPacket):
        names = ["input", "weight", "bias", "running_mean", "running_var", "training", "momentum", "eps"]
    arguments = dict(zip(names, call.args, strict=False)) | call.kwargs
    if arguments.get("training") or arguments["running_var"] is None:
        raise ValueError(
            "Excitation backprop needs a batch norm with running statistics in eval mode; this one normalises by its batch."
        )
    deviation = torch.sqrt(arguments["running_var"] + arguments.get("eps", 1e-5))
    weight = arguments.get("weight")
    return (deviation.reciprocal() if weight is None else weight / deviation).detach()
