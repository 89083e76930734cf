"""Guided feature inversion of one image at a time, as the paper writes it and as its authors' code does it, in plain PyTorch.

Written from Du et al. (KDD 2018), Algorithms 1 and 2, and from what the released code computes; it shares no code with the
library, so that results can be compared. The model's weights have to be frozen, and it has to be in eval mode.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Outcome(NamedTuple):
    """Of one image."""

    weights: Tensor
    """(n,) ω."""
    mask: Tensor
    """(1, 1, H, W)."""
    losses: list[Tensor]
    """Each step's, before it."""


def output_of(model: nn.Module, layer: str, image: Tensor) -> Tensor:
    """What a layer gives, before any in-place operator that follows it."""
    found: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        found.append(output.clone())

    handle = model.get_submodule(layer).register_forward_hook(keep)
    model(image)
    handle.remove()
    return found[0]


def paper_mask(weights: Tensor, maps: Tensor, size: Sequence[int]) -> Tensor:
    """Lines 5 and 6 of both algorithms, of (n,) ω and (1, n, h, w) maps."""
    mask = torch.tensordot(weights, maps[0], dims=1)
    mask = (mask - mask.min()) / (mask.max() - mask.min())
    return F.interpolate(mask[None, None], tuple(size), mode="bilinear", align_corners=False)


def paper(
    model: nn.Module,
    image: Tensor,
    background: Tensor,
    target: int,
    layers: tuple[str, str],
    steps: tuple[int, int] = (10, 70),
) -> Outcome:
    """Algorithm 1, then Algorithm 2.

    Args:
        model: f.
        image: (1, 3, H, W) x.
        background: (1, 3, H, W) p.
        target: c.
        layers: l₀ and l₁.
        steps: of the two algorithms.
    """
    with torch.no_grad():
        wanted = output_of(model, layers[0], image)
        maps = output_of(model, layers[1], image).relu()
    weights = torch.full((maps.shape[1],), 0.1, dtype=image.dtype, device=image.device, requires_grad=True)
    losses = []
    adam = torch.optim.Adam([weights], lr=1e-2)
    for _ in range(steps[0]):
        mask = paper_mask(weights, maps, image.shape[2:])
        inverted = image * mask + background * (1 - mask)
        error = ((output_of(model, layers[0], inverted) - wanted) ** 2).sum()
        losses.append(_step(adam, weights, error + 10 * weights.abs().sum()))
    rate = 1e-2
    adam = torch.optim.Adam([weights], lr=rate)
    for number in range(1, steps[1] + 1):
        mask = paper_mask(weights, maps, image.shape[2:])
        inverted = image * mask + background * (1 - mask)
        without = image * (1 - mask) + background * mask
        shown = F.softmax(model(inverted), dim=1)[0, target]
        left = F.softmax(model(without), dim=1)[0, target]
        losses.append(_step(adam, weights, -shown + 1 * left + 1 * weights.abs().sum()))
        if number % 10 == 0:
            rate = rate / 2
            adam.param_groups[0]["lr"] = rate
    with torch.no_grad():
        return Outcome(weights.detach(), paper_mask(weights, maps, image.shape[2:]), losses)


def released_mask(weights: Tensor, maps: Tensor, size: Sequence[int]) -> Tensor:
    """The authors' mask: a sum channel by channel, enlarged with aligned corners, then (m − min) / max."""
    mask = torch.zeros_like(maps[0, 0])
    for channel in range(len(weights)):
        mask = mask + weights[channel] * maps[0, channel]
    mask = F.interpolate(mask[None, None], tuple(size), mode="bilinear", align_corners=True)
    return (mask - mask.min()) / mask.max()


def released(
    model: nn.Module, image: Tensor, background: Tensor, target: int, layer: str, steps: tuple[int, int] = (11, 69)
) -> Outcome:
    """The scheme of the authors' code, which takes one layer for l₀ and l₁, and one Adam; its arguments are those of `paper`.

    Every step runs the network three times, for the features, for the image and for what is left of it, whatever the stage.
    """
    with torch.no_grad():
        maps = output_of(model, layer, image).relu()
    weights = torch.full((maps.shape[1],), 0.1, dtype=image.dtype, device=image.device, requires_grad=True)
    adam = torch.optim.Adam([weights], lr=1e-2)
    losses = []
    for number in range(1, sum(steps) + 1):
        mask = released_mask(weights, maps, image.shape[2:])
        inverted = image * mask + background * (1 - mask)
        without = image * (1 - mask) + background * mask
        error = ((output_of(model, layer, inverted) - maps) ** 2).sum() / (maps**2).sum()
        shown = F.softmax(model(inverted), dim=1)[0, target]
        left = F.softmax(model(without), dim=1)[0, target]
        size = (weights**2).sum()
        losses.append(_step(adam, weights, error + 5 * size if number <= steps[0] else left - shown + 2 * size))
        if number % 10 == 0:
            adam.param_groups[0]["lr"] *= 0.5
    with torch.no_grad():
        return Outcome(weights.detach(), released_mask(weights, maps, image.shape[2:]), losses)


def _step(adam: torch.optim.Optimizer, weights: Tensor, loss: Tensor) -> Tensor:
    adam.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    adam.step()
    with torch.no_grad():
        weights.clamp_(min=0)
    return loss.detach()
