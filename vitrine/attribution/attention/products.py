"""Attention products: calls that multiply attention weights with values, in whatever spelling."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrine.attribution.autograd.calls import Call, words
from vitrine.attribution.autograd.interception import walk
from vitrine.attribution.autograd.node_origins import REARRANGING_NODES, kind

SOFTMAXES = words("Softmax SafeSoftmax Exp Exp2")
"""Kinds of the nodes of softmax; an exponential is the first part of one that is written out."""

WEIGHT_NODES = REARRANGING_NODES | words(
    "Mul Div Add Sub Rsub Neg Sum Mean NativeDropout Mm Addmm Bmm Baddbmm Convolution Where MaskedFill Cat Stack"
)
"""Kinds of the nodes between a softmax and the product with the values: scales, gates, and mixtures of heads."""


class AttentionProduct(NamedTuple):
    """One product of attention weights with values."""

    weights: Tensor
    """As the network has them: a node of its graph."""
    matrix: Callable[[Tensor], Tensor]
    """Rearranges the weights, or their gradient, to (…, n, m): n queries and m keys."""
    values: Tensor
    value_axis: int
    """The dimension of the m keys among the values."""
    output_axis: int
    """The dimension of the n queries in the output."""


def product_of(call: Call) -> AttentionProduct | None:
    """The attention product that a ``matmul``, ``bmm`` or ``einsum`` is; None if it is none.

    Attention weights are a function of softmaxes alone: past them, weights have been scaled, rearranged, mixed over heads
    or normalised again, and nothing else of the image has come in.
    """
    if call.name == "einsum":
        return _einsum_product(call)
    first, second = call.operand, call.argument(1, "mat2" if call.name == "bmm" else "other")
    if not all(isinstance(x, Tensor) and x.ndim > 1 for x in (first, second)):
        return None
    if of_softmaxes_alone(first):
        return AttentionProduct(first, _unchanged, second, -2, -2)
    if of_softmaxes_alone(second):
        return AttentionProduct(second, _transposed, first, -1, -1)
    return None


def of_softmaxes_alone(tensor: Tensor) -> bool:
    """Whether a tensor is made of softmaxes and constants, by operators that attention weights pass."""
    is_any = False
    for node in walk([tensor.grad_fn], _is_softmax):
        if _is_softmax(node):
            is_any = True
        elif _kind(node) not in WEIGHT_NODES:
            return False
    return is_any


def _is_softmax(node: torch.autograd.graph.Node) -> bool:
    return _kind(node) in SOFTMAXES


def _kind(node: torch.autograd.graph.Node) -> str:
    return kind(node).rpartition("Backward")[0]


def _unchanged(weights: Tensor) -> Tensor:
    return weights


def _transposed(weights: Tensor) -> Tensor:
    return weights.mT


def _einsum_product(call: Call) -> AttentionProduct | None:
    equation, *operands = call.args
    if len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = list(operands[0])
    if not isinstance(equation, str) or len(operands) != 2 or "->" not in equation:
        return None
    *inputs, output = subscripts(equation, [x.ndim for x in operands])
    for weights, values in ((0, 1), (1, 0)):
        keys = set(inputs[weights]) & set(inputs[values]) - set(output)
        queries = set(inputs[weights]) & set(output) - set(inputs[values])
        if len(keys) == len(queries) == 1 and of_softmaxes_alone(operands[weights]):
            (key,), (query,) = keys, queries
            axes = (inputs[weights].index(query), inputs[weights].index(key))
            return AttentionProduct(
                operands[weights],
                partial(torch.movedim, source=axes, destination=(-2, -1)),
                operands[values],
                inputs[values].index(key),
                output.index(query),
            )
    return None


def subscripts(equation: str, dimensions: list[int]) -> list[str]:
    """One letter for each dimension of the operands and of the output of an einsum, ellipses written out.

    Example:
        >>> subscripts("...ij,...jd->...id", [4, 4])
        ['ABij', 'ABjd', 'ABid']
    """
    inputs, output = equation.replace(" ", "").split("->")
    operands = inputs.split(",")
    hidden = [size - len(x.replace("...", "")) for x, size in zip(operands, dimensions, strict=True)]
    free = [letter for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if letter not in equation][: max(hidden)]
    written = [x.replace("...", "".join(free[len(free) - size :])) for x, size in zip(operands, hidden, strict=True)]
    return [*written, output.replace("...", "".join(free))]


def explicit_attention(call: Call) -> tuple[AttentionProduct, Tensor]:
    """The product in `torch.nn.functional.scaled_dot_product_attention`, with its weights in the graph, and its output."""
    query, key, value = (call.argument(i, name) for i, name in enumerate(("query", "key", "value")))
    if call.kwargs.get("enable_gqa"):
        key, value = (x.repeat_interleave(query.shape[-3] // x.shape[-3], dim=-3) for x in (key, value))
    scale = call.kwargs.get("scale")
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    scores = _masked((query * scale) @ key.mT, call.argument(3, "attn_mask"))
    if call.argument(5, "is_causal", default=False):
        allowed = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        scores = scores.masked_fill(~allowed, -torch.inf)
    # A query that may look at no key gets 0, as in the fused operator.
    weights = torch.softmax(scores, dim=-1).masked_fill((scores == -torch.inf).all(dim=-1, keepdim=True), 0)
    weights = F.dropout(weights, call.argument(4, "dropout_p", 0.0))
    weights = weights.to(value.dtype)
    return AttentionProduct(weights, _unchanged, value, -2, -2), weights @ value


def _masked(scores: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return scores
    return scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
