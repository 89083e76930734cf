"""Swish written out, x · σ(c x), with the backward passes of deconvnet and guided backprop; QuickGELU of CLIP is one."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node

from vitrine.attribution.autograd.calls import Call, carries
from vitrine.attribution.autograd.elementwise import edge_of
from vitrine.attribution.autograd.interception import with_backward
from vitrine.attribution.autograd.node_origins import kind
from vitrine.attribution.autograd.rules import PassPositive


def deconvnet_swish(call: Call) -> Any:
    """R = g⁺ at x · σ(c x), a rule of products."""
    operand = swish_operand(call)
    return NotImplemented if operand is None else with_backward(call, PassPositive(operand.shape), operand)


def guided_swish(call: Call) -> Any:
    """R = g⁺ f′(x) at f(x) = x · σ(c x), a rule of products."""
    if swish_operand(call) is None:
        return NotImplemented
    output = call()
    output.register_hook(lambda signal: signal.clamp(min=0))
    return output


def swish_operand(call: Call) -> Tensor | None:
    """The x of a product x · σ(c x), c a constant; None if a call is none, or writes to one of its operands."""
    first, second = call.operand, call.argument(1, "other")
    if call.written is not None or not (carries(first) and carries(second)) or first.shape != second.shape:
        return None
    for value, gate in ((first, second), (second, first)):
        if _is_sigmoid_of(gate.grad_fn, value):
            return value if isinstance(value, Tensor) else None
    return None


def _is_sigmoid_of(node: Node | None, value: Tensor) -> bool:
    if node is None or kind(node) != "SigmoidBackward0":
        return False
    edge = node.next_functions[0]
    if edge == edge_of(value):
        return True
    if edge[0] is None or kind(edge[0]) != "MulBackward0":
        return False
    sources = [below for below in edge[0].next_functions if below[0] is not None]
    return sources == [edge_of(value)] and _is_one_positive_number(edge[0])


def _is_one_positive_number(node: Node) -> bool:
    """Whether the constant factor of a product is one number above 0."""
    constants = [getattr(node, "_saved_self", None), getattr(node, "_saved_other", None)]
    return all(c is None or (c.numel() == 1 and bool((torch.as_tensor(c) > 0).all())) for c in constants)
