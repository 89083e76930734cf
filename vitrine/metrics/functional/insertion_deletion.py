"""What a class gains and loses as an image's pixels come and go by their saliency (Petsiuk, Das and Saenko, BMVC 2018)."""

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from vitrine.backbones.guard import eval_guard
from vitrine.core.image_ops import degenerate, gaussian_blur
from vitrine.core.precision import in_full

IMAGES_AT_ONCE = 64
"""Bounds the memory of a curve by the images in a forward pass; changes no result."""

Classify = Callable[[Tensor], Tensor]
"""Takes (B, 3, H, W) images as the backbone takes them to (B, C) logits; an ``nn.Module`` is put behind glass."""


def insertion_curve(
    classify: Classify, images: Tensor, maps: Tensor, targets: Tensor, steps: int = 50, blur: float = 11.0
) -> Tensor:
    """Probability of a class while the pixels of an image come into its blurred copy, the most salient first.

    Of equal pixels the first in row order comes first. After step s of S, ⌊s · H · W / S⌋ pixels have come.

    Args:
        classify: the network.
        images: (B, 3, H, W) as it takes them.
        maps: (B, H, W).
        targets: (B,) the classes.
        steps: S, the groups of pixels.
        blur: σ in pixels of the Gaussian that blurs the image.

    Returns:
        (B, S + 1) softmax probabilities at the shares of pixels that `step_shares` gives; NaN for a degenerate map.

    Raises:
        ValueError: for steps below 1, a negative blur, or maps that do not fit the images.
    """
    check_insertion_deletion(steps, blur)
    return _curve(classify, gaussian_blur(images, blur), images, maps, targets, steps)


def deletion_curve(
    classify: Classify,
    images: Tensor,
    maps: Tensor,
    targets: Tensor,
    steps: int = 50,
    background: float | Tensor = 0.0,
) -> Tensor:
    """Probability of a class while the pixels of an image give way to the background, the most salient first.

    The order, the result and the errors are those of `insertion_curve`.

    Args:
        classify: the network.
        images: (B, 3, H, W) as it takes them.
        maps: (B, H, W).
        targets: (B,) the classes.
        steps: S, the groups of pixels.
        background: a number or a tensor that broadcasts to the images; 0 is the mean colour of normalised ones.
    """
    check_insertion_deletion(steps)
    fill = torch.as_tensor(background, dtype=images.dtype, device=images.device).expand_as(images)
    return _curve(classify, images, fill, maps, targets, steps)


def curve_area(curve: Tensor, pixels: int) -> Tensor:
    """Area under curves of insertion or deletion over the share of pixels, by the trapezoid rule.

    Args:
        curve: (B, S + 1).
        pixels: H · W of the images.

    Returns:
        (B,) float64 in [0, 1].
    """
    return torch.trapezoid(curve.double(), step_shares(pixels, curve.shape[1] - 1).to(curve.device))


def step_shares(pixels: int, steps: int) -> Tensor:
    """(S + 1,) float64 from 0 to 1: the share of pixels that have come, or gone, after each step."""
    return _step_counts(pixels, steps).double() / pixels


def _curve(classify: Classify, start: Tensor, end: Tensor, maps: Tensor, targets: Tensor, steps: int) -> Tensor:
    """(B, S + 1): the probabilities of targets while pixels of ``start`` become those of ``end``."""
    if maps.shape != (len(start), *start.shape[2:]):
        raise ValueError(f"maps must be {(len(start), *start.shape[2:])}, got {tuple(maps.shape)}.")
    ranks, targets = saliency_ranks(maps.detach().to(start.device)), targets.to(start.device)
    counts = _step_counts(ranks[0].numel(), steps).to(start.device)
    columns = []
    with eval_guard(classify) if isinstance(classify, nn.Module) else nullcontext(), torch.no_grad():
        for some in torch.split(counts, max(1, IMAGES_AT_ONCE // len(start))):
            changed = ranks[:, None] < some[:, None, None]
            mixed = torch.where(changed[:, :, None], end[:, None], start[:, None])
            probabilities = in_full(classify(mixed.flatten(0, 1))).softmax(dim=1)
            explained = probabilities.gather(1, targets.repeat_interleave(len(some))[:, None])
            columns.append(explained.reshape(len(start), len(some)))
    return torch.cat(columns, dim=1).masked_fill(degenerate(maps).to(start.device)[:, None], torch.nan)


def saliency_ranks(maps: Tensor) -> Tensor:
    """(B, H, W) int64: the place of each pixel in falling order, 0 first; of equal ones the first in row order."""
    order = maps.flatten(1).argsort(dim=1, descending=True, stable=True)
    places = torch.arange(order.shape[1], device=maps.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places).reshape(maps.shape)


def _step_counts(pixels: int, steps: int) -> Tensor:
    return torch.arange(steps + 1) * pixels // steps


def check_insertion_deletion(steps: int, blur: float = 0.0) -> None:
    """Raises ValueError for options that the curves do not know."""
    if steps < 1:
        raise ValueError(f"steps of insertion and deletion must be 1 or more, got {steps}.")
    if not blur >= 0:
        raise ValueError(f"blur of insertion must be 0 pixels or more, got {blur}.")
