"""Capture of attention weights: what is recorded, what is left behind, and weights by image."""

import pytest
import torch
from torch import nn

from vitrine.attribution.attention.capture import AttentionCapture, AttentionTrace, by_image


@pytest.mark.parametrize("need_weights", [True, False])
def test_multi_head_attention_is_captured_and_unchanged(need_weights: bool) -> None:
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(8, 2, batch_first=True).double().eval()
    x = torch.randn(3, 5, 8).double().requires_grad_() * 1
    expected, weights = attention(x, x, x, average_attn_weights=False)
    with AttentionCapture() as capture:
        output = attention(x, x, x, need_weights=need_weights)[0]
    torch.testing.assert_close(output, expected)
    (product,) = capture.products
    found = by_image(product.matrix(product.weights), (2,) if need_weights else (1, 2), 3, batch_first=True)
    torch.testing.assert_close(found, weights)
    with torch.no_grad():
        torch.testing.assert_close(attention(x, x, x)[0], expected)
    assert len(capture.products) == 1


def test_weights_by_image_wherever_the_images_are() -> None:
    weights = torch.rand(3, 2, 4, 5)
    merged = weights.flatten(0, 1)
    for given, lead, first in (
        (weights, (1, 2), True),
        (weights.transpose(0, 1), (2, 1), True),
        (merged, (2,), True),
        (weights.transpose(0, 1).flatten(0, 1), (2,), False),
    ):
        assert torch.equal(by_image(given, lead, 3, batch_first=first), weights)
    assert torch.equal(by_image(merged[:2], (2,), 1, batch_first=True), weights[:1])
    assert torch.equal(by_image(weights[0, 0], (), 1, batch_first=True), weights[:1, :1])


def test_a_trace_is_cut_at_the_outputs_of_attention() -> None:
    leaf = torch.randn(1, 4, 3, requires_grad=True)
    x = leaf * 1
    with AttentionTrace() as trace:
        total = (x + (x @ x.mT).softmax(-1) @ x).sum()
    for trace.is_cut in (True, False):
        (gradient,) = torch.autograd.grad(total, leaf, retain_graph=True)
        assert torch.equal(gradient, torch.ones_like(gradient)) == trace.is_cut
    (attention,) = trace.attentions
    assert (attention.queries, attention.keys, attention.width) == (4, 4, 3)
