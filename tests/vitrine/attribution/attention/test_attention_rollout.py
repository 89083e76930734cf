"""Attention rollout against matrices multiplied by hand."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from tests.helpers.small_transformers import SPELLINGS, attention_matrices, images, small_transformer
from vitrine.attribution import AttentionRollout
from vitrine.attribution.attention.attention_rollout import fuse_heads


def product(matrices: list[Tensor], residual: float = 0.5) -> Tensor:
    """Â_L ⋯ Â_1 of fused matrices (B, N, N)."""
    rolled = eye = torch.eye(matrices[0].shape[-1], dtype=torch.float64)
    for matrix in matrices:
        mixed = (1 - residual) * matrix + residual * eye
        rolled = mixed / mixed.sum(dim=-1, keepdim=True) @ rolled
    return rolled


def upsampled(patches: Tensor) -> Tensor:
    return F.interpolate(patches.reshape(-1, 1, 3, 4), (12, 16), mode="bilinear")


def rows_read(rolled: Tensor, read: str, extra: int) -> Tensor:
    """(B, patches) of the row that the logits read."""
    patches = rolled[:, :, extra:]
    pooled = patches[:, extra:].mean(dim=1)
    return {
        "class": patches[:, 0],
        "mean": pooled,
        "two": patches[:, :2].mean(dim=1),
        "class and mean": (patches[:, 0] + pooled) / 2,
    }[read]


@pytest.mark.parametrize(
    ("read", "extra"), [("class", 1), ("class", 4), ("mean", 0), ("mean", 1), ("two", 2), ("class and mean", 1)]
)
@pytest.mark.parametrize("norm_first", [True, False])
def test_it_is_the_product_of_the_matrices(read: str, extra: int, norm_first: bool) -> None:
    model = small_transformer(extra=extra, read=read, norm_first=norm_first)
    weights = [w.detach().mean(dim=1) for w in attention_matrices(model, images())[1]]
    expected = upsampled(rows_read(product(weights), read, extra))
    torch.testing.assert_close(AttentionRollout(model).attribute(images()), expected)
    targets = torch.tensor([[0, 4]] * 3)
    several = AttentionRollout(model).attribute(images(), targets)
    torch.testing.assert_close(several, expected[:, None].expand(-1, 2, -1, -1, -1))
    for wrong in (5, -1):
        with pytest.raises(ValueError, match=f"target {wrong} is out of range"):
            AttentionRollout(model).attribute(images(), wrong)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_attention_gives_the_same_map(spelling: str) -> None:
    expected = AttentionRollout(small_transformer()).attribute(images())
    torch.testing.assert_close(AttentionRollout(small_transformer(SPELLINGS[spelling])).attribute(images()), expected)


@pytest.mark.parametrize("fusion", ["mean", "max", "min"])
@pytest.mark.parametrize(("ratio", "residual", "start"), [(0.0, 0.5, 0), (0.6, 0.25, 0), (0.0, 0.0, 1), (0.9, 0.5, 2)])
def test_options(fusion: Any, ratio: float, residual: float, start: int) -> None:
    model = small_transformer()
    fused = []
    for weights in attention_matrices(model, images())[1]:
        matrix = fuse_heads(weights.detach(), fusion)
        if ratio:
            ranks = matrix.flatten(1).argsort(dim=1).argsort(dim=1).view_as(matrix)
            matrix = matrix * (ranks >= int(ratio * matrix[0].numel()))
            matrix = matrix / matrix.sum(dim=-1, keepdim=True).clamp(min=1e-300)
        fused.append(matrix)
    method = AttentionRollout(
        model, head_fusion=fusion, discard_ratio=ratio, residual_weight=residual, start_layer=start
    )
    torch.testing.assert_close(method.attribute(images()), upsampled(product(fused[start:], residual)[:, 0, 1:]))


def test_a_start_layer_beyond_the_last_is_refused() -> None:
    with pytest.raises(ValueError, match="start_layer is 3; give less than 3"):
        AttentionRollout(small_transformer(), start_layer=3).attribute(images())


def test_masks_are_part_of_the_weights() -> None:
    masks = torch.randn(13, 13, generator=torch.Generator().manual_seed(2)).double()
    allowed = torch.ones(13, 13, dtype=torch.bool).tril()
    written: Any = lambda q, k, v: ((q @ k.mT / 2 + masks).masked_fill(~allowed, -torch.inf).softmax(-1)) @ v  # noqa: E731
    fused: Any = lambda q, k, v: F.scaled_dot_product_attention(  # noqa: E731
        q, k, v, attn_mask=masks.masked_fill(~allowed, -torch.inf)
    )
    causal: Any = lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True)  # noqa: E731
    unmasked: Any = lambda q, k, v: ((q @ k.mT / 2).masked_fill(~allowed, -torch.inf).softmax(-1)) @ v  # noqa: E731
    for first, second in ((written, fused), (unmasked, causal)):
        maps = [AttentionRollout(small_transformer(one, read="mean")).attribute(images()) for one in (first, second)]
        torch.testing.assert_close(*maps)


def test_a_classifier_of_zeros_is_no_hindrance() -> None:
    model = VisionTransformer(16, 4, 2, 2, 8, 16, num_classes=5).eval()
    assert not model.heads.head.weight.any()
    before = AttentionRollout(model).attribute(torch.ones(1, 3, 16, 16))
    nn.init.normal_(model.heads.head.weight)
    torch.testing.assert_close(AttentionRollout(model).attribute(torch.ones(1, 3, 16, 16)), before)
