"""Attention products: which calls are recognised, and scaled dot-product attention by its definition."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vitrine.attribution.attention.products import explicit_attention, of_softmaxes_alone, product_of, subscripts
from vitrine.attribution.autograd.calls import Call


def activations(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True) * 2


@pytest.mark.parametrize(
    ("is_of_softmaxes", "make"),
    [
        (True, lambda x: x.softmax(-1)),
        (True, lambda x: F.dropout(x.softmax(-1).float(), 0.5, training=True).mT.contiguous()[:, 1:] * 3 + 1),
        (True, lambda x: x.softmax(-1) / x.softmax(-1).sum(-1, keepdim=True) + x.mT.softmax(-1)),
        (True, lambda x: (x.softmax(-1).permute(1, 2, 0) @ torch.ones(2, 2).double()).permute(2, 0, 1)),
        (True, lambda x: x.exp() / x.exp().sum(-1, keepdim=True)),
        (False, lambda x: x * 3),
        (False, lambda x: x.softmax(-1) * x),
        (False, lambda x: x.softmax(-1) @ x.mT),
        (False, lambda x: x.softmax(-1).relu()),
        (False, lambda x: x.sigmoid()),
    ],
)
def test_weights_are_a_function_of_softmaxes_alone(is_of_softmaxes: bool, make: Any) -> None:
    assert of_softmaxes_alone(make(activations(2, 4, 4))) == is_of_softmaxes


@pytest.mark.parametrize(
    ("call", "axes"),
    [
        (lambda a, v: Call(torch.matmul, (a, v), {}), (-2, -2)),
        (lambda a, v: Call(torch.Tensor.__matmul__, (v.mT, a.mT), {}), (-1, -1)),
        (lambda a, v: Call(torch.bmm, (a,), {"mat2": v}), (-2, -2)),
        (lambda a, v: Call(torch.einsum, ("bij,bjd->bid", a, v), {}), (1, 1)),
        (lambda a, v: Call(torch.einsum, ("bjd,bij->dib", [v, a]), {}), (1, 1)),
    ],
)
def test_products_have_their_weights_values_and_rows(call: Any, axes: tuple[int, int]) -> None:
    a, v = activations(2, 3, 4).softmax(-1), activations(2, 4, 5)
    product = product_of(call(a, v))
    assert product is not None
    assert (product.value_axis, product.output_axis) == axes
    torch.testing.assert_close(product.matrix(product.weights), a)
    assert product.values.shape[product.value_axis] == 4
    assert product_of(call(activations(2, 3, 4), v)) is None


def test_subscripts_write_ellipses_out() -> None:
    assert subscripts("...ij, jd -> ...id", [4, 2]) == ["ABij", "jd", "ABid"]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scale": 0.3},
        {"is_causal": True},
        {"attn_mask": torch.tensor([[True, False, True, True], [False] * 4, [True] * 4])},
        {"attn_mask": torch.randn(2, 1, 3, 4).double()},
        {"enable_gqa": True},
    ],
)
def test_fused_attention_by_its_definition(options: dict[str, Any]) -> None:
    heads = 2 if options.get("enable_gqa") else 6
    q, k, v = activations(2, 6, 3, 8), activations(2, heads, 4, 8), activations(2, heads, 4, 5)
    product, output = explicit_attention(Call(F.scaled_dot_product_attention, (q, k, v), options))
    torch.testing.assert_close(output, F.scaled_dot_product_attention(q, k, v, **options))
    assert product.weights.shape == (2, 6, 3, 4)
    sums = product.weights.sum(-1)
    assert bool(((sums - 1).abs() < 1e-9).logical_or(sums == 0).all())
