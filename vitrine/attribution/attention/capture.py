"""Capture of attention weights in a forward pass, whoever computes them, without patching any module."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from typing_extensions import override

from vitrine.attribution.attention.products import AttentionProduct, explicit_attention, product_of
from vitrine.attribution.autograd.calls import Call
from vitrine.attribution.autograd.interception import Interception, with_backward


class AttentionCapture(Interception):
    """A context that records the attention products of forward passes, in order, with their weights in the graph.

    Fused attention is computed by its definition, so that its weights exist; multi-head attention is opened.
    """

    def __init__(self) -> None:
        products = dict.fromkeys(("matmul", "bmm", "einsum"), self._product)
        super().__init__({"scaled_dot_product_attention": self._fused, **products})
        self.products: list[AttentionProduct] = []

    def captured(self, product: AttentionProduct, output: Tensor) -> Tensor:
        """Records a product; the network goes on with what this gives."""
        self.products.append(product)
        return output

    def _fused(self, call: Call) -> Any:
        return self.captured(*explicit_attention(call))

    def _product(self, call: Call) -> Any:
        product = product_of(call)
        return NotImplemented if product is None else self.captured(product, call())


class Attention(NamedTuple):
    """One attention product of a traced forward pass of one image."""

    lead: Sequence[int]
    """The dimensions of the weights before those of queries and keys."""
    queries: int
    """n, the number of rows of the output."""
    keys: int
    """m, the number of values."""
    values: GradientEdge
    """The values as (1, m, D)."""
    width: int
    """D."""
    output: GradientEdge
    """The output, whose gradient does not go on while the trace is cut."""
    shape: torch.Size
    """Of the output."""
    output_axis: int
    """The dimension of the n queries in it."""

    def rows(self, gradient: Tensor) -> Tensor:
        """(n, D) rows of the gradient at the output."""
        return gradient.movedim(self.output_axis, 0).flatten(1)


class AttentionTrace(AttentionCapture):
    """A capture of one image's pass whose graph can be cut at the outputs of attention, to see what goes around it."""

    def __init__(self) -> None:
        super().__init__()
        self.attentions: list[Attention] = []
        self.is_cut = False

    @override
    def captured(self, product: AttentionProduct, output: Tensor) -> Tensor:
        matrix = product.matrix(product.weights)
        values = product.values.movedim(product.value_axis, 0).flatten(1)[None]
        # A copy, as the network may change the output in place.
        gate = with_backward(output.clone, lambda signal: (None if self.is_cut else signal,), output)
        self.attentions.append(
            Attention(
                matrix.shape[:-2],
                matrix.shape[-2],
                matrix.shape[-1],
                get_gradient_edge(values),
                values.shape[2],
                get_gradient_edge(gate),
                gate.shape,
                product.output_axis,
            )
        )
        return gate


def by_image(weights: Tensor, lead: Sequence[int], batch_size: int, *, batch_first: bool) -> Tensor:
    """(B, L, n, m) from the (…, n, m) weights of B images.

    Args:
        weights: of B images.
        lead: the dimensions before n and m in the pass of one image; L is their product.
        batch_size: B.
        batch_first: whether images come before heads where one dimension holds both.
    """
    axis = batch_axis(weights, lead)
    if axis is None:
        return weights.flatten(0, -3)[None] if weights.ndim > 2 else weights[None, None]
    sizes = (batch_size, lead[axis]) if batch_first else (lead[axis], batch_size)
    split = weights.reshape(*weights.shape[:axis], *sizes, *weights.shape[axis + 1 :])
    return split.movedim(axis if batch_first else axis + 1, 0).flatten(1, -3)


def batch_axis(weights: Tensor, lead: Sequence[int]) -> int | None:
    """The dimension of the (…, n, m) weights in which B images differ from one; None where B is 1."""
    return next((i for i, size in enumerate(lead) if weights.shape[i] != size), None)


def is_batch_first(logits: Tensor, product: AttentionProduct, axis: int, heads: int) -> bool:
    """Whether images come before heads in a dimension of the weights that holds both: those of the first image do first."""
    (gradient,) = torch.autograd.grad(logits[0].sum(), product.weights, retain_graph=True, allow_unused=True)
    if gradient is None:
        return True
    matrix = product.matrix(gradient)
    return not bool(matrix.narrow(axis, heads, matrix.shape[axis] - heads).any())
