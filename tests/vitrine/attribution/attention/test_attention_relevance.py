"""Gradient-weighted attention relevance against plain autograd on explicit attention with retained gradients."""

import pytest
import torch
from torch import Tensor

from tests.helpers.small_transformers import SPELLINGS, SmallTransformer, attention_matrices, images, small_transformer
from tests.vitrine.attribution.attention.test_attention_rollout import rows_read, upsampled
from vitrine.attribution import AttentionRelevance


def relevance(model: SmallTransformer, inputs: Tensor, target: int) -> Tensor:
    """R ← R + mean over heads of (∇A ⊙ A)⁺ R from R = I."""
    logits, matrices = attention_matrices(model, inputs)
    logits[:, target].sum().backward()
    rolled = torch.eye(matrices[0].shape[-1], dtype=torch.float64).expand(len(inputs), -1, -1)
    for weights in matrices:
        assert weights.grad is not None
        rolled = rolled + (weights.grad * weights.detach()).clamp(min=0).mean(dim=1) @ rolled
    return rolled


@pytest.mark.parametrize(("read", "extra"), [("class", 1), ("class", 3), ("mean", 0), ("mean", 1), ("two", 2)])
def test_it_is_that_of_plain_autograd(read: str, extra: int) -> None:
    model = small_transformer(extra=extra, read=read)
    maps = AttentionRelevance(model).attribute(images(), torch.tensor([[0, 3]] * 3))
    for k, target in enumerate((0, 3)):
        expected = rows_read(relevance(model, images(), target), read, extra)
        torch.testing.assert_close(maps[:, k], upsampled(expected))


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_attention_gives_the_same_map(spelling: str) -> None:
    expected = AttentionRelevance(small_transformer()).attribute(images(), 1)
    model = small_transformer(SPELLINGS[spelling])
    torch.testing.assert_close(AttentionRelevance(model).attribute(images(), 1), expected)
    single = torch.cat([AttentionRelevance(model).attribute(image[None], 1) for image in images()])
    torch.testing.assert_close(single, expected)


def test_no_images() -> None:
    assert AttentionRelevance(small_transformer()).attribute(images()[:0], 1).shape == (0, 1, 12, 16)
