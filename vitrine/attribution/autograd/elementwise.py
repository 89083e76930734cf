"""Elementwise functions of one value in the autograd graph, to tell when a value is combined with a function of itself."""

from typing import NamedTuple

from torch import Tensor
from torch.autograd.graph import Node, get_gradient_edge

from vitrine.attribution.autograd.calls import Call, words
from vitrine.attribution.autograd.interception import backward_of
from vitrine.attribution.autograd.node_origins import kind
from vitrine.attribution.autograd.rules import MAXIMA, MINIMA, PassPositive

ARITHMETIC = words("Mul Div Add Sub Rsub Neg Round Floor Ceil Trunc Rsqrt Reciprocal Clone ToCopy Alias")
"""Kinds of elementwise nodes that have no bend by themselves."""

BENT = words(
    "Abs Sign Sgn Pow Sqrt Exp Exp2 Expm1 Log Log1p Sigmoid HardSigmoid Tanh Erf Erfc Relu Clamp ClampMin ClampMax Maximum"
    " Minimum Hardtanh Threshold LeakyRelu PreluKernel RreluWithNoise Elu Gelu Silu Mish Hardswish Softplus LogSigmoid"
    " Hardsigmoid Atan Softsign SpecialNdtr SpecialExpit Where MaskedFill"
)
"""Kinds of elementwise nodes with which a product or sum with the value itself can be a rectifier."""

Edge = tuple[Node, int]


class Sources(NamedTuple):
    """What a tensor is an elementwise function of."""

    edges: frozenset[Edge]
    """Outputs of nodes that are not elementwise."""
    is_bent: bool
    """Whether one of the nodes on the way is bent."""


def rectifies_itself(call: Call) -> bool:
    """Whether a call of two operands combines a value with another function of the same value, as a rectifier can.

    Products, quotients and sums count if one of the functions has a bend, as in ``x * x.sigmoid()`` or ``x + x.abs()``;
    a maximum or minimum counts with any, as in ``maximum(x, 0.1 * x)``.
    """
    extreme = call.name in MAXIMA | MINIMA
    if not extreme and call.name not in {"mul", "div", "add", "sub"}:
        return False
    operands = [edge_of(tensor) for tensor in call.carriers()]
    if len(operands) != 2 or operands[0] == operands[1]:
        return False
    shared = shared_value(*operands)
    return shared is not None and (extreme or shared.is_bent)


def shared_value(one: Edge, two: Edge) -> Sources | None:
    """The value that two tensors are elementwise functions of, which may be one of them; None if there is no such value."""
    for function, value in ((one, two), (two, one)):
        found = sources(function, value)
        if found.edges == {value}:
            return found
    first, second = sources(one), sources(two)
    if first.edges != second.edges or len(first.edges) != 1:
        return None
    return Sources(first.edges, first.is_bent or second.is_bent)


def sources(start: Edge, value: Edge | None = None) -> Sources:
    """What an output of a node is an elementwise function of: itself, if the node is not elementwise.

    Args:
        start: the output.
        value: another output, which is taken for a source whatever its node.
    """
    pending, seen, ends, is_bent = [start], set[Edge](), set[Edge](), False
    while pending:
        edge = pending.pop()
        if edge in seen:
            continue
        seen.add(edge)
        name = kind(edge[0]).rpartition("Backward")[0]
        bends = _bends(edge[0], name)
        if edge != value and (bends or name in ARITHMETIC or name in BENT):
            is_bent |= bends
            pending.extend((child, number) for child, number in edge[0].next_functions if child is not None)
        else:
            ends.add(edge)
    return Sources(frozenset(ends), is_bent)


def _bends(node: Node, name: str) -> bool:
    if name == "Pow":  # a root of a square is an absolute value; a polynomial has no bend
        return not isinstance(exponent := getattr(node, "_saved_exponent", None), int | float) or exponent % 1 != 0
    return name in BENT or isinstance(backward_of(node), PassPositive)


def edge_of(tensor: Tensor) -> Edge:
    """The output of a node that a tensor is."""
    edge = get_gradient_edge(tensor)
    return edge.node, edge.output_nr
