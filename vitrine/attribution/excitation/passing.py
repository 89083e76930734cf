"""Operators that pass mass unchanged: activation functions, shifts and sigmoids; and what a tensor is below them."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node, get_gradient_edge

from vitrine.attribution.autograd.calls import Call, carries
from vitrine.attribution.autograd.interception import backward_of, walk, with_backward
from vitrine.attribution.autograd.node_origins import IDENTITIES, LATE_NODES, REARRANGING_NODES, kind
from vitrine.attribution.autograd.rules import ONE_OF_TWO

SELECTING_NODES = frozenset(("Select", "Slice", "Index", "IndexSelect", "Split", "SplitWithSizes", "Unbind"))
"""Those of the rearranging nodes that take a part of a tensor."""

Edge = tuple[Node, int]
"""A node of the graph and the number of one of its outputs."""


class Passing:
    """A backward pass that takes mass unchanged to one operand, summed where that was broadcast."""

    def __init__(self, shape: torch.Size) -> None:
        self.shape = shape  # not the operand: a backward pass that held it might never be freed

    def __call__(self, mass: Tensor) -> tuple[Tensor]:
        """The mass at the operand from the mass at the output."""
        return (mass.sum_to_size(self.shape),)


class Shift(Passing):
    """The backward pass of an operator that only adds constants, or scales by positive ones or by gates."""


class Activation(Passing):
    """The backward pass of an elementwise function."""


class Gate(Passing):
    """The backward pass of a sigmoid, by which a product recognises its gate."""


def shifted(call: Call, receiver: Any) -> Any:
    """Passes mass unchanged to one operand; the others, such as constants that are added to it, get none."""
    return with_backward(call, Shift(receiver.shape), receiver, *other_written(call, receiver))


def activated(call: Call) -> Any:
    """Passes mass unchanged through an elementwise function."""
    x = call.operand
    return with_backward(call, Activation(x.shape), x) if carries(x) else NotImplemented


def gated(call: Call) -> Any:
    """Passes mass unchanged through a sigmoid, and marks the output as a gate for a following product."""
    x = call.operand
    return with_backward(call, Gate(x.shape), x) if carries(x) else NotImplemented


def extreme(call: Call) -> Any:
    """A maximum or minimum with a constant is an activation function; of two activations, the winner gets the mass."""
    carriers = call.carriers()
    if len(carriers) != 1 or call.name not in ONE_OF_TWO or call.written is not None:
        return NotImplemented
    others = [call.operand, call.argument(1, "other")]
    if not all(isinstance(x, Tensor) for x in others):
        return NotImplemented  # the largest along a dimension
    return with_backward(call, Activation(carriers[0].shape), carriers[0])


def other_written(call: Call, receiver: Tensor) -> list[Tensor]:
    """The tensor that a call changes in place, if that is not the one that gets the mass."""
    return [] if call.written is None or call.written is receiver else [call.written]


def origin(x: Tensor | Node | None, *, whole: bool = False) -> Edge | None:
    """The first output of a node at or below a tensor that is not a mere shift or rearrangement of another.

    Args:
        x: the tensor, or the node whose first output it is.
        whole: whether what takes a part of a tensor counts as a node of its own.
    """
    node: Node | None
    node, number = get_gradient_edge(x)[:2] if isinstance(x, Tensor) else (x, 0)
    while node is not None:
        backward = backward_of(node)
        if not (isinstance(backward, Shift) or (backward is None and _rearranges(node, whole=whole))):
            return node, number
        below = [edge for edge in node.next_functions if edge[0] is not None]
        node, number = below[0] if len(below) == 1 else (None, 0)
    return None


def backward_below(x: Tensor, *, whole: bool = False) -> Any:
    """The custom backward pass of a tensor's `origin`; None if it is autograd's own."""
    edge = origin(x, whole=whole)
    return None if edge is None else backward_of(edge[0])


def is_computed_from(one: Tensor, other: Tensor) -> bool:
    """Whether a tensor is computed from the very value that another one is, but for shifts and rearrangements."""
    start, value = origin(one), origin(other, whole=True)
    if start is None or value is None or start == value:
        return False
    # Nodes are numbered in order, so that none that was made before the value leads to it.
    first = value[0]._sequence_nr()  # noqa: SLF001 - the only trace of the order
    nodes = walk([start[0]], lambda node: node._sequence_nr() <= first)  # noqa: SLF001
    return any(edge == value for node in nodes for edge in node.next_functions)


def _rearranges(node: Node, *, whole: bool) -> bool:
    name = kind(node)
    if whole and name.rpartition("Backward")[0] in SELECTING_NODES:
        return False
    return name in IDENTITIES | LATE_NODES or name.rpartition("Backward")[0] in REARRANGING_NODES
