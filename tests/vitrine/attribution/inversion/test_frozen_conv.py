"""Frozen convolutions give what torch's own give, and the gradient of the images."""

from typing import Any

import pytest
import torch
from torch import nn

from vitrine.attribution.inversion.frozen_conv import FrozenConv, can_be_frozen, turned

KINDS: list[dict[str, Any]] = [
    {"kernel_size": 1},
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": (3, 5), "padding": (1, 2), "bias": False},
    {"kernel_size": 3, "padding": 2, "dilation": 2, "groups": 2},
    {"kernel_size": 3, "padding": 1, "groups": 4},
    {"kernel_size": 3, "stride": 2, "padding": 1, "groups": 4},
    {"kernel_size": 1, "padding": 1},
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("activation", [None, nn.ReLU(), nn.ReLU6()], ids=str)
@pytest.mark.parametrize("double", [True, False])
def test_outputs_and_gradients_are_those_of_the_modules(kind: Any, activation: nn.Module | None, double: bool) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 8, **kind)
    dtype = torch.float64 if double else torch.float32
    conv.to(dtype)
    images = (4 * torch.randn(2, 4, 9, 10, dtype=dtype)).requires_grad_()
    expected = conv(images) if activation is None else activation(conv(images))
    cotangent = torch.randn_like(expected)
    (wanted,) = torch.autograd.grad(expected, images, cotangent)
    found = FrozenConv(conv, activation)(images)
    (gradient,) = torch.autograd.grad(found, images, cotangent)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradient, wanted)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_under_autocast_it_runs_in_half_precision(kind: Any) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 8, **kind)
    images = torch.randn(2, 4, 9, 10, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        expected, found = conv(images).relu(), FrozenConv(conv, nn.ReLU())(images)
    assert found.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected)
    cotangent = torch.randn(expected.shape).bfloat16()
    (wanted,) = torch.autograd.grad(expected, images, cotangent)
    (gradient,) = torch.autograd.grad(found, images, cotangent)
    assert gradient.dtype == torch.float32
    torch.testing.assert_close(gradient, wanted, rtol=2e-2, atol=4e-2)


def test_gradcheck() -> None:
    torch.manual_seed(0)
    conv = FrozenConv(nn.Conv2d(2, 3, 3, stride=2, padding=1).double(), nn.ReLU())
    assert torch.autograd.gradcheck(conv, torch.randn(1, 2, 5, 5, dtype=torch.float64, requires_grad=True))


def test_the_turned_weights_of_turned_weights_are_the_weights() -> None:
    weight = torch.randn(6, 2, 3, 3)
    assert torch.equal(turned(turned(weight, 3), 3), weight)


def test_what_is_no_plain_convolution_is_left_alone() -> None:
    assert can_be_frozen(nn.Conv2d(3, 4, 3))
    assert not can_be_frozen(nn.Conv2d(3, 4, 3, padding="same"))
    assert not can_be_frozen(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"))
