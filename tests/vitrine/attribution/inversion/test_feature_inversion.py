"""Equation 1 against its closed form on a linear layer."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitrine.attribution import FeatureInversion


@pytest.fixture
def first_channel() -> nn.Module:
    """A layer that passes the first channel alone, then logits."""
    model = nn.Sequential(nn.Conv2d(3, 1, 1, bias=False), nn.Flatten(), nn.Linear(16, 2)).double()
    model[0].weight.data = torch.tensor([1.0, 0, 0], dtype=torch.float64).view(1, 3, 1, 1)
    return model


@pytest.fixture
def images() -> Tensor:
    signs = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(48)
    return (signs * torch.linspace(0.5, 2, 96, dtype=torch.float64)).view(2, 3, 4, 4)


def test_what_a_layer_passes_is_found_again_and_the_rest_goes_to_the_prior(
    first_channel: nn.Sequential, images: Tensor
) -> None:
    """With a quadratic prior, x* = xₐ / (1 + ρS/d) where f passes xₐ, and 0 where it does not; S is ‖f(xₐ)‖²."""
    options: dict[str, Any] = {"iterations": 600, "learning_rate": 0.05, "norm": 0.5, "norm_exponent": 2.0, "tv": 0.0}
    maps = FeatureInversion(first_channel, "0", **options).attribute(images)
    shrinkage = 0.5 * images[:, 0].square().sum(dim=(1, 2)) / 48
    expected = torch.ones_like(images)
    expected[:, 0] = (shrinkage / (1 + shrinkage))[:, None, None]
    torch.testing.assert_close(maps, expected, atol=2e-3, rtol=0)


def test_without_a_prior_what_is_not_passed_stays_noise(first_channel: nn.Sequential, images: Tensor) -> None:
    method = FeatureInversion(first_channel, "0", iterations=400, norm=0.0, tv=0.0, seed=3)
    noise = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(3)).double()
    maps = method.attribute(images, torch.tensor([[0, 1], [1, 0]]))
    expected = ((images - noise) / images)[:, 1:]
    torch.testing.assert_close(maps[:, 0, 1:], expected)
    torch.testing.assert_close(maps[:, 0, 0], torch.zeros(2, 4, 4, dtype=torch.float64), atol=2e-3, rtol=0)
    assert torch.equal(maps[:, 0], maps[:, 1])
    torch.testing.assert_close(method.attribute(images[1:]), maps[1:, 0])


def test_the_floor_bounds_the_quotient(first_channel: nn.Sequential, images: Tensor) -> None:
    images[0, 1, 0, 0] = 0.0
    method = FeatureInversion(first_channel, "0", iterations=0, floor=0.25)
    noise = method.inverted(images)
    assert float(method.attribute(images)[0, 1, 0, 0]) == pytest.approx(-float(noise[0, 1, 0, 0]) / 0.25)


def test_gradient_of_the_loss(first_channel: nn.Sequential, images: Tensor) -> None:
    method = FeatureInversion(first_channel, "0", norm=0.3, tv=0.2)
    features = first_channel[0](images).detach()
    assert torch.autograd.gradcheck(
        lambda x: method.losses(first_channel[0](x), features, x), (images * 0.9).requires_grad_()
    )
