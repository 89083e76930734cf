"""Excitation backprop by the layer's Jacobian, as a naive reference."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrine.attribution import excitation_maps

Function = Callable[[Tensor], Tensor]


def jacobian(layer: Function, x: Tensor) -> Tensor:
    """(outputs, inputs) of a layer that is linear in x but for its bias."""
    rows = torch.autograd.functional.jacobian(layer, x)
    assert isinstance(rows, Tensor)
    return rows.reshape(-1, x.numel())


def quotient(mass: Tensor, sums: Tensor) -> Tensor:
    return torch.where(sums == 0, 0, mass / torch.where(sums == 0, 1, sums))


def naive(matrix: Tensor, x: Tensor, mass: Tensor, negative_activations: str) -> Tensor:
    """Zhang's equation with the matrix written out."""
    flat = x.reshape(-1)
    up, down = matrix.clamp(min=0), matrix.clamp(max=0)
    positive, negative = flat.clamp(min=0), flat.clamp(max=0)
    if negative_activations == "raw":
        received = flat * (up.T @ quotient(mass, up @ flat))
    elif negative_activations == "zplus":
        slopes = quotient(mass, up @ positive + down @ negative)
        received = positive * (up.T @ slopes) + negative * (down.T @ slopes)
    else:
        received = positive * (up.T @ quotient(mass, up @ positive))
    return received.view_as(x)


def all_maps(layer: Function, x: Tensor, negative_activations: Any = "clamp", step: int = 1) -> Tensor:
    """(K, H, W) maps of a layer's outputs, all or each ``step``-th of them, for one image."""

    def forward(images: Tensor) -> Tensor:
        return layer(images).flatten(1)

    count = forward(x).shape[1]
    maps, _ = excitation_maps(
        forward, x, torch.arange(0, count, step)[None], contrastive=False, negative_activations=negative_activations
    )
    return maps[0]


def assert_like_naive(layer: Function, x: Tensor, negative_activations: str = "clamp") -> None:
    matrix = jacobian(layer, x)
    step = len(matrix) // 7 + 1
    maps = all_maps(layer, x, negative_activations, step)
    for mass, actual in zip(torch.eye(len(matrix))[::step], maps, strict=True):
        torch.testing.assert_close(actual, naive(matrix, x, mass, negative_activations)[0].sum(dim=0))


def weighted(images: Tensor) -> Tensor:
    """Something with a weight, which excitation backprop wants to see; passes each value on as it is."""
    return F.conv2d(images, torch.eye(images.shape[1])[:, :, None, None])
