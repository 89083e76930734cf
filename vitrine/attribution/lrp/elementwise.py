"""LRP rules of elementwise functions: activations pass relevance on; gates and statistics are constants."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node

from vitrine.attribution.autograd.calls import Call, carries, words
from vitrine.attribution.autograd.interception import Rule, backward_of, with_backward
from vitrine.attribution.autograd.node_origins import IDENTITIES, LATE_NODES, REARRANGING_NODES, kind
from vitrine.attribution.autograd.rules import ACTIVATIONS, SELDOM_ACTIVATIONS

HOMOGENEOUS = words("relu threshold leaky_relu prelu rrelu abs absolute")
"""Activation functions with y(x) = y′(x) x, where they keep their gradient; threshold at 0."""

SIGMOIDS = words("sigmoid hardsigmoid")

SCALES = words(
    "var std rsqrt reciprocal rtruediv rdiv norm vector_norm linalg_norm linalg_vector_norm exp exp2 rpow special_exp2"
)
"""Operators whose output is a constant for what follows: they give scales, not features."""

SCALING_NODES = words("Mul Div Add Sub Rsub Neg")
"""Kinds of nodes, up to ``Backward``, that scale and shift if they have one operand that is no constant."""


class Sigmoid:
    """The backward pass of a sigmoid as an activation function, by which a product recognises its gate."""

    def __init__(self, ratio: Tensor, shape: torch.Size) -> None:
        self.ratio = ratio
        self.shape = shape

    def __call__(self, signal: Tensor) -> tuple[Tensor]:
        """The signal at the operand."""
        return ((signal * self.ratio).sum_to_size(self.shape),)


class Held:
    """The backward pass of a scale that was computed in place, which passes nothing on."""

    def __call__(self, _signal: Tensor) -> tuple[None]:
        """Nothing for the operand."""
        return (None,)


def elementwise_rules() -> dict[str, Rule]:
    """Rules by operator name."""
    rules: dict[str, Rule] = dict.fromkeys((ACTIVATIONS | SELDOM_ACTIVATIONS) - SIGMOIDS, activation)
    rules |= dict.fromkeys(SIGMOIDS, sigmoid) | dict.fromkeys(HOMOGENEOUS, homogeneous)
    rules |= dict.fromkeys(SCALES, constant) | dict.fromkeys(("var_mean", "std_mean"), spread_and_mean)
    return rules | {"pow": power}


def constant(call: Call) -> Any:
    """The value as a constant for what follows."""
    if call.written is not None:  # the tensor that is changed has its place in the graph, which nothing passes
        return with_backward(call, Held(), call.written)
    with torch.no_grad():
        return call()


def spread_and_mean(call: Call) -> Any:
    """A variance as a constant, and a mean with its gradient."""
    spread, mean = call()
    return spread.detach(), mean


def power(call: Call) -> Any:
    """A root in a denominator is a scale; other powers pass relevance on."""
    exponent = call.argument(1, "exponent")
    is_scale = not isinstance(exponent, Tensor) or not carries(exponent)
    return constant(call) if is_scale and bool((torch.as_tensor(exponent) < 0).all()) else activation(call)


def homogeneous(call: Call) -> Any:
    """A rectifier that is proportional to its input keeps its gradient."""
    if call.name == "threshold" and (call.argument(1, "threshold") or call.argument(2, "value")):
        return activation(call)
    return call()


def activation(call: Call) -> Any:
    """y(x): the signal times y/x, and times y′(0) at 0."""
    x = call.operand
    if not carries(x) or len(call.carriers()) != 1:
        return NotImplemented
    compute, ratio = _value_and_ratio(call, x)
    shape = x.shape
    return with_backward(compute, lambda signal: ((signal * ratio).sum_to_size(shape),), x)


def sigmoid(call: Call) -> Any:
    """As `activation`, with a mark for products."""
    x = call.operand
    if not carries(x):
        return NotImplemented
    compute, ratio = _value_and_ratio(call, x)
    return with_backward(compute, Sigmoid(ratio, x.shape), x)


def is_gate(x: Tensor) -> bool:
    """Whether a tensor is a scale computed in place or what a sigmoid gave, also scaled, shifted or rearranged."""
    node: Node | None = x.grad_fn
    while node is not None:
        if isinstance(backward_of(node), Sigmoid | Held):
            return True
        name = kind(node)
        below = [child for child, _ in node.next_functions if child is not None]
        passes = name in IDENTITIES | LATE_NODES or name.rpartition("Backward")[0] in REARRANGING_NODES | SCALING_NODES
        node = below[0] if passes and len(below) == 1 else None
    return False


def _value_and_ratio(call: Call, x: Tensor) -> tuple[Callable[[], Any], Tensor]:
    """What computes y, and y/x at each element; y′ where that is not finite, as at 0."""
    is_in_place = call.written is not None
    with torch.no_grad():
        output = call.on(x.detach().clone() if is_in_place else x.detach())
    ratio = output / x.detach()
    if not ratio.sum().isfinite():  # one pass over the elements, where asking each takes five
        with torch.enable_grad():
            leaf = x.detach().clone().requires_grad_()
            (slope,) = torch.autograd.grad(call.on(leaf.clone()).sum(), leaf)
        ratio = ratio.where(ratio.isfinite(), slope)
    return (call if is_in_place else lambda: output), ratio
