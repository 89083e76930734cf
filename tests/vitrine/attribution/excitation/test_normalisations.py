"""Normalisations in every spelling against the factor and shift that they are with constant statistics."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.helpers.naive_excitation import Function, all_maps

pytestmark = pytest.mark.usefixtures("doubles")

CHANNELS = 4
GAMMA = torch.tensor([1.5, -2.0, 0.5, -0.25], dtype=torch.float64)
BETA = torch.tensor([0.2, -0.3, 0.1, 0.4], dtype=torch.float64)


def column(vector: Tensor) -> Tensor:
    return vector.view(-1, 1, 1)


def last(norm: Function) -> Function:
    """A norm of the last dimension, of the channels of a map."""
    return lambda x: norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def by_mean_and_variance(x: Tensor) -> Tensor:
    mean = x.mean(1, keepdim=True)
    variance = (x - mean).pow(2).mean(1, keepdim=True)
    return column(GAMMA) * ((x - mean) / torch.sqrt(variance + 1e-6)) + column(BETA)


def by_reciprocal_root(x: Tensor) -> Tensor:
    variance, mean = torch.var_mean(x, dim=1, unbiased=False, keepdim=True)
    return torch.addcmul(column(BETA), x.sub(mean).mul(torch.rsqrt(variance + 1e-6)), column(GAMMA))


def by_square(x: Tensor) -> Tensor:
    return column(GAMMA) * x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-6)


def by_std_in_place(x: Tensor) -> Tensor:
    deviation = x.std(dim=(2, 3), keepdim=True).add_(1e-6).expand_as(x)
    return (x - x.mean(dim=(2, 3), keepdim=True).expand_as(x)).div_(deviation).mul_(column(GAMMA))


NORMS: dict[str, Function] = {
    "F.layer_norm": last(lambda x: F.layer_norm(x, (CHANNELS,), GAMMA, BETA)),
    "torch.layer_norm": last(lambda x: torch.layer_norm(x, (CHANNELS,), GAMMA, BETA)),
    "layer norm without weights, and a factor": last(lambda x: F.layer_norm(x, (CHANNELS,)) * GAMMA + BETA),
    "rms_norm": last(lambda x: F.rms_norm(x, (CHANNELS,), GAMMA)),
    "group_norm": lambda x: F.group_norm(x, 2, GAMMA, BETA),
    "group norm by keywords": lambda x: F.group_norm(x, num_groups=1, bias=BETA, weight=GAMMA),
    "instance_norm": lambda x: F.instance_norm(x, weight=GAMMA, bias=BETA),
    "torch.instance_norm": lambda x: torch.instance_norm(x, GAMMA, BETA, None, None, True, 0.1, 1e-5, False),  # noqa: FBT003
    "mean and variance": by_mean_and_variance,
    "var_mean and rsqrt": by_reciprocal_root,
    "root mean square": by_square,
    "std, in place": by_std_in_place,
    "F.normalize": lambda x: F.normalize(x, dim=1) * column(GAMMA),
    "global response": lambda x: (
        x * (x.norm(p=2, dim=(2, 3), keepdim=True) / (x.norm(p=2, dim=(2, 3)).mean() + 1e-6)) * column(GAMMA)
    ),
}


@pytest.mark.parametrize("name", NORMS)
def test_a_normalisation_is_its_weight_on_the_convolution_before_it(name: str) -> None:
    weight, x = torch.randn(CHANNELS, 2, 3, 3), torch.rand(1, 2, 4, 4)

    def net(norm: Function) -> Tensor:
        return all_maps(lambda images: norm(F.conv2d(images, weight, padding=1)), x)

    torch.testing.assert_close(net(NORMS[name]), net(lambda y: y * column(GAMMA)))


@pytest.mark.parametrize("name", NORMS)
def test_after_anything_else_mass_passes_unchanged(name: str) -> None:
    weight, x = torch.randn(CHANNELS, 2, 3, 3), torch.rand(1, 2, 4, 4)
    expected = all_maps(lambda images: F.relu(F.conv2d(images, weight)) + 0.1, x)
    torch.testing.assert_close(
        all_maps(lambda images: NORMS[name](F.relu(F.conv2d(images, weight)) + 0.1), x), expected
    )


MODULES: dict[str, Callable[[], nn.Module]] = {
    "layer": lambda: nn.LayerNorm([CHANNELS, 3, 3]),
    "RMS": lambda: nn.RMSNorm([CHANNELS, 3, 3]),
    "group": lambda: nn.GroupNorm(2, CHANNELS),
    "instance": lambda: nn.InstanceNorm2d(CHANNELS, affine=True),
    "instance with running statistics": lambda: nn.InstanceNorm2d(CHANNELS, track_running_stats=True).eval(),
    "local response": lambda: nn.LocalResponseNorm(2),
}


@pytest.mark.parametrize("name", MODULES)
def test_modules_with_positive_weights_pass_mass_unchanged(name: str) -> None:
    weight, x = torch.randn(CHANNELS, 2, 2, 2), torch.rand(1, 2, 4, 4)
    layer = MODULES[name]().double()
    expected = all_maps(lambda images: F.conv2d(images, weight), x)
    torch.testing.assert_close(all_maps(lambda images: layer(F.conv2d(images, weight)), x), expected)


def test_a_weight_that_depends_on_the_image_is_a_gate() -> None:
    weight, x = torch.randn(CHANNELS, 2, 2, 2), torch.rand(1, 2, 4, 4)

    def forward(images: Tensor) -> Any:
        y = F.conv2d(images, weight)
        return F.group_norm(y, 1, y.mean((0, 2, 3)), None)

    torch.testing.assert_close(all_maps(forward, x), all_maps(lambda images: F.conv2d(images, weight), x))
