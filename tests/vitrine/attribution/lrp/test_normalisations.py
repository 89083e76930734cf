"""Normalisations under LRP: statistics are constants, and centring is linear."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.helpers.lrp_relevance import random, relevance


def centred(x: Tensor, of: Tensor, dims: tuple[int, ...]) -> Tensor:
    """x_j Σ_i (δ_ij − 1/n) R_i / (x_i − mean)."""
    ratio = of / (x - x.mean(dim=dims, keepdim=True))
    return x * (ratio - ratio.mean(dim=dims, keepdim=True))


@pytest.mark.parametrize(
    ("norm", "dims"),
    [
        (nn.LayerNorm([3, 4, 4]), (1, 2, 3)),
        (nn.LayerNorm(4, elementwise_affine=False), (3,)),
        (nn.GroupNorm(1, 3), (1, 2, 3)),
        (nn.InstanceNorm2d(3), (2, 3)),
    ],
)
def test_statistics_of_normalisations_are_constants(norm: nn.Module, dims: tuple[int, ...]) -> None:
    torch.manual_seed(2)
    norm = norm.double()
    if getattr(norm, "weight", None) is not None:
        nn.init.uniform_(norm.weight, 0.5, 2)  # type: ignore[arg-type]
    for parameter in norm.parameters():
        parameter.requires_grad = False
    x, of = random(2, 3, 4, 4), random(2, 3, 4, 4)
    torch.testing.assert_close(relevance(norm, x, of), centred(x, of, dims))


def test_rms_norm_passes_relevance_on() -> None:
    x, of = random(2, 3, 4), random(2, 3, 4)
    weight = torch.rand(4, dtype=torch.double) + 0.5
    torch.testing.assert_close(relevance(lambda x: F.rms_norm(x, [4], weight), x, of), of)
    torch.testing.assert_close(relevance(lambda x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True)), x, of), of)


def by_hand(x: Tensor) -> Tensor:
    difference = x - x.mean(dim=1, keepdim=True)
    return difference * (difference.pow(2).mean(dim=1, keepdim=True) + 1e-5) ** -0.5


def by_var_mean(x: Tensor) -> Tensor:
    variance, mean = torch.var_mean(x, dim=1, keepdim=True)
    return (x - mean) * torch.rsqrt(variance + 1e-5)


def by_var(x: Tensor) -> Tensor:
    return (x - x.mean(dim=1, keepdim=True)) / (x.var(dim=1, keepdim=True) + 1e-5).sqrt()


@pytest.mark.parametrize("function", [by_hand, by_var_mean, by_var])
def test_layer_norms_written_by_hand(function: object) -> None:
    torch.manual_seed(2)
    x, of = random(2, 6), random(2, 6)
    torch.testing.assert_close(relevance(function, x, of), centred(x, of, (1,)))  # type: ignore[arg-type]
