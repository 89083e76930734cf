"""Elementwise functions of one value in the autograd graph, to tell when a value is combined with a function of itself."""

from typing import NamedTuple

from torch import Tensor
from torch.autograd.graph import Node, get_gradient_edge

from vitrine.attribution.autograd.calls import Call, words
from vitrine.attribution.autograd.interception import backward_of
from vitrine.attribution.autograd.node_origins import kind
from vitrine.attribution.autograd.rules import MAXIMA, MINIMA, PassPositive

ARITHMETIC = words("Mul Div Add Sub Rsub Neg Rsqrt Reciprocal Clone ToCopy Alias")
"""Kinds of elementwise nodes that have no bend by themselves."""

BENT = words(
    "Abs Sign Sgn Pow Sqrt Exp Exp2 Expm1 Log Log1p Sigmoid HardSigmoid Tanh Erf Erfc Relu Clamp ClampMin ClampMax Maximum"
    " Minimum Hardtanh Threshold LeakyRelu PreluKernel RreluWithNoise Elu Gelu Silu Mish Hardswish Softplus LogSigmoid"
    " Hardsigmoid Atan Softsign SpecialNdtr SpecialExpit Round Floor Ceil Trunc Where MaskedFill"
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
    operands = [tensor for tensor in call.carriers() if tensor.grad_fn is not None]
    if len(operands) != 2 or _edge(operands[0]) == _edge(operands[1]):
        return False
    first, second = (sources(operand) for operand in operands)
    one_value = first.edges == second.edges and len(first.edges) == 1
    return one_value and (extreme or first.is_bent or second.is_bent)


def sources(tensor: Tensor) -> Sources:
    """What a tensor of the graph is an elementwise function of: itself, if its own node is not elementwise."""
    pending, seen, ends, is_bent = [_edge(tensor)], set[Edge](), set[Edge](), False
    while pending:
        edge = pending.pop()
        if edge in seen:
            continue
        seen.add(edge)
        name = kind(edge[0]).rpartition("Backward")[0]
        is_bent |= name in BENT or isinstance(backward_of(edge[0]), PassPositive)
        if name in ARITHMETIC | BENT or isinstance(backward_of(edge[0]), PassPositive):
            pending.extend((child, number) for child, number in edge[0].next_functions if child is not None)
        else:
            ends.add(edge)
    return Sources(frozenset(ends), is_bent)


def _edge(tensor: Tensor) -> Edge:
    edge = get_gradient_edge(tensor)
    return edge.node, edge.output_nr
