"""Insertion and deletion curves of heatmaps (Petsiuk, Das and Saenko, RISE, BMVC 2018)."""

import torch
from torch import Tensor

from vitrine.core.image_ops import degenerate, gaussian_blur
from vitrine.core.options import Count, NonNegative, checked
from vitrine.metrics.functional.checks import checked_classes, checked_images, checked_maps, checked_tensor
from vitrine.metrics.functional.class_scores import Classify, class_scores


@checked
def insertion_curve(
    classify: Classify,
    images: Tensor,
    maps: Tensor,
    targets: Tensor,
    steps: Count = 50,
    blur: NonNegative = 11.0,
    *,
    multi_label: bool = False,
) -> Tensor:
    """Probability of a class while the pixels of an image are inserted into its blurred copy, the most salient first.

    Of equally salient pixels the first in row-major order comes first. After step s of S, ⌊s · H · W / S⌋ pixels are
    inserted.

    Args:
        classify: the network.
        images: (B, 3, H, W), normalised for the network.
        maps: (B, H, W).
        targets: (B,) classes.
        steps: S, the number of groups of pixels.
        blur: σ in pixels of the Gaussian that blurs the image.
        multi_label: whether an image may have several classes, as in `class_probabilities`.

    Returns:
        (B, S + 1) probabilities at the shares of pixels from `step_shares`; NaN for a degenerate map.

    Raises:
        OptionError: for ``steps`` below 1 or a negative ``blur``.
        ValueError: for maps of another size than the images, images that are not finite floats, and classes that are not one
            integer an image.

    Example:
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 10))
        >>> images, maps, targets = torch.rand(2, 3, 8, 8), torch.rand(2, 8, 8), torch.tensor([3, 7])
        >>> curve = insertion_curve(model, images, maps, targets, steps=4, blur=2.0)
        >>> curve.shape
        torch.Size([2, 5])
        >>> torch.allclose(curve[:, -1], model(images).softmax(dim=1)[torch.arange(2), targets])
        True
    """
    images, maps = checked_images(images, maps), checked_maps(maps)
    return _curve(classify, gaussian_blur(images, blur), images, maps, targets, steps, multi_label=multi_label)


@checked
def deletion_curve(
    classify: Classify,
    images: Tensor,
    maps: Tensor,
    targets: Tensor,
    steps: Count = 50,
    background: float | Tensor = 0.0,
    *,
    multi_label: bool = False,
) -> Tensor:
    """Probability of a class while the pixels of an image are replaced by the background, the most salient first.

    The order of the pixels, the result and the errors are those of `insertion_curve`.

    Args:
        classify: the network.
        images: (B, 3, H, W), normalised for the network.
        maps: (B, H, W).
        targets: (B,) classes.
        steps: S, the number of groups of pixels.
        background: a number or a tensor that broadcasts to the images; 0 is the mean colour of normalised images.
        multi_label: as in `insertion_curve`.

    Example:
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 10))
        >>> images, maps, targets = torch.rand(2, 3, 8, 8), torch.rand(2, 8, 8), torch.tensor([3, 7])
        >>> deletion_curve(model, images, maps, targets, steps=4).shape
        torch.Size([2, 5])
    """
    images, maps = checked_images(images, maps), checked_maps(maps)
    fill = torch.as_tensor(background, dtype=images.dtype, device=images.device).expand_as(images)
    return _curve(classify, images, fill, maps, targets, steps, multi_label=multi_label)


def curve_area(curve: Tensor, num_pixels: int) -> Tensor:
    """Area under insertion or deletion curves over the share of pixels, by the trapezoidal rule.

    Args:
        curve: (B, S + 1).
        num_pixels: H · W of the images.

    Returns:
        (B,) float64 in [0, 1].

    Raises:
        ValueError: for curves of another number of dimensions.

    Example:
        >>> curve_area(torch.tensor([[1.0, 0.5, 0.0]]), num_pixels=64).item()
        0.5
    """
    curve = checked_tensor(curve, "curve", "B, S + 1")
    return torch.trapezoid(curve.double(), step_shares(num_pixels, curve.shape[1] - 1).to(curve.device))


def step_shares(num_pixels: int, steps: int) -> Tensor:
    """(S + 1,) float64 from 0 to 1: the share of pixels that are inserted or deleted after each step.

    Example:
        >>> step_shares(num_pixels=10, steps=4).tolist()
        [0.0, 0.2, 0.5, 0.7, 1.0]
    """
    return _step_counts(num_pixels, steps).double() / num_pixels


def _curve(
    classify: Classify, start: Tensor, end: Tensor, maps: Tensor, targets: Tensor, steps: int, *, multi_label: bool
) -> Tensor:
    """(B, S + 1): the targets' probabilities while pixels of ``start`` are replaced by those of ``end``."""
    targets = checked_classes(targets, len(start)).to(start.device)
    ranks = saliency_ranks(maps.detach().to(start.device))[:, None]
    counts = _step_counts(maps.shape[1:].numel(), steps).tolist()
    versions = (torch.where(ranks < count, end, start) for count in counts)
    curve = class_scores(classify, versions, targets, multi_label=multi_label)
    return curve.masked_fill(degenerate(maps).to(start.device)[:, None], torch.nan)


def saliency_ranks(maps: Tensor) -> Tensor:
    """(B, H, W) int64: rank of each pixel by falling value, 0 first; equal ones in row-major order.

    Example:
        >>> saliency_ranks(torch.tensor([[[1.0, 3.0], [3.0, 2.0]]])).tolist()
        [[[3, 0], [1, 2]]]
    """
    order = maps.flatten(1).argsort(dim=1, descending=True, stable=True)
    ranks = torch.arange(order.shape[1], device=maps.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, ranks).reshape(maps.shape)


def _step_counts(num_pixels: int, steps: int) -> Tensor:
    return torch.arange(steps + 1) * num_pixels // steps


@checked
def check_insertion_deletion(steps: Count, blur: NonNegative = 0.0) -> None:
    """Raises OptionError for options that the curves do not take.

    Example:
        >>> check_insertion_deletion(steps=0)
        Traceback (most recent call last):
        vitrine.core.options.OptionError: steps is 0; give 1 or more.
    """
