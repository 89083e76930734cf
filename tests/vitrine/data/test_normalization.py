"""Normalising a batch at once gives the very numbers that torchvision gives for each image."""

import pytest
import torch
from torchvision.transforms.v2 import functional as F

from vitrine.data.normalization import normalized
from vitrine.data.preprocessing import IMAGENET_MEAN, IMAGENET_STD


def naive(images: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    return F.normalize(F.to_dtype(images, torch.float32, scale=True), list(mean), list(std))


@pytest.mark.parametrize("shape", [(3, 16, 16), (5, 3, 7, 16), (2, 4, 3, 16, 6), (0, 3, 4, 4), (2, 0, 3, 4, 4)])
@pytest.mark.parametrize("channels_last", [False, True])
def test_all_values_of_8_bits_are_equal(shape: tuple[int, ...], channels_last: bool) -> None:
    images = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    strided = images.movedim(-3, -1).contiguous().movedim(-1, -3) if channels_last else images
    found = normalized(strided, IMAGENET_MEAN, IMAGENET_STD)
    assert torch.equal(found, naive(images, IMAGENET_MEAN, IMAGENET_STD))
    assert found.is_contiguous()
    assert found.dtype == torch.float32


def test_every_grey_level() -> None:
    levels = torch.arange(256, dtype=torch.uint8).expand(1, 1, 256)
    assert torch.equal(normalized(levels, (0.3,), (0.7,)), naive(levels, (0.3,), (0.7,)))


def test_floats_are_in_0_to_1_and_keep_their_gradient() -> None:
    images = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    found = normalized(images, IMAGENET_MEAN, IMAGENET_STD)
    assert torch.equal(found, naive(images, IMAGENET_MEAN, IMAGENET_STD))
    assert torch.autograd.grad(found.sum(), images)[0].shape == images.shape
