"""Pixel flipping of heatmaps (Bach et al., PLOS ONE 2015; by regions: Samek et al., IEEE TNNLS 2017)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrine.core.image_ops import degenerate
from vitrine.core.options import Count, Share, checked
from vitrine.metrics.functional.checks import checked_classes, checked_images, checked_maps, checked_tensor
from vitrine.metrics.functional.class_scores import Classify, class_scores
from vitrine.metrics.functional.insertion_deletion import saliency_ranks


@checked
def pixel_flipping_curve(
    classify: Classify,
    images: Tensor,
    maps: Tensor,
    targets: Tensor,
    fill: Tensor | float = 0.0,
    steps: Count = 50,
    region: Count = 9,
    share: Share = 0.16,
    *,
    multi_label: bool = False,
) -> Tensor:
    """Probability of a class while the regions of an image are replaced, those of the highest mean of the map first.

    Regions are the squares of a grid that begins at the upper left corner; those at the right and lower edges may be
    smaller. Of regions with equal means the first in row-major order comes first.

    Args:
        classify: the network.
        images: (B, C, H, W), normalised for the network.
        maps: (B, H, W).
        targets: (B,) classes.
        fill: what regions are replaced by, a number or a tensor that broadcasts to the images; 0 is the mean colour of
            normalised images.
        steps: S, the number of groups of regions that are replaced one after the other.
        region: side of a region in pixels; 1 flips single pixels.
        share: of the regions that are replaced at the end. Samek et al. replace the first 100 of the 625 of 224 × 224 pixels.
        multi_label: whether an image may have several classes, as in `class_probabilities`.

    Returns:
        (B, S + 1) probabilities at the shares of regions from `flipped_shares`; NaN for a degenerate map, and for one whose
        regions are all alike.

    Raises:
        OptionError: for ``steps`` or ``region`` below 1 or a share outside [0, 1].
        ValueError: for maps of another size than the images, images that are not finite floats, and classes that are not one
            integer an image.

    Example:
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 10))
        >>> images, maps, targets = torch.rand(2, 3, 8, 8), torch.rand(2, 8, 8), torch.tensor([3, 7])
        >>> pixel_flipping_curve(model, images, maps, targets, steps=4, region=2).shape
        torch.Size([2, 5])
    """
    images, maps = checked_images(images, maps), checked_maps(maps).detach().to(images.device)
    targets = checked_classes(targets, len(images)).to(images.device)
    means = F.avg_pool2d(maps[:, None].double(), region, ceil_mode=True)[:, 0]
    whole = saliency_ranks(means)
    counts = (flipped_shares(steps, share) * whole.shape[1:].numel() + 1e-9).long().tolist()
    ranks = whole.repeat_interleave(region, 1).repeat_interleave(region, 2)[:, None, : maps.shape[1], : maps.shape[2]]
    filled = torch.as_tensor(fill, dtype=images.dtype, device=images.device)
    versions = (torch.where(ranks < count, filled, images) for count in counts)
    curve = class_scores(classify, versions, targets, multi_label=multi_label)
    alike = degenerate(means) if means[:1].numel() > 1 else torch.zeros_like(degenerate(maps))
    return curve.masked_fill((degenerate(maps) | alike)[:, None], torch.nan)


@checked
def flipped_shares(steps: Count, share: Share = 1.0) -> Tensor:
    """(S + 1,) float64 from 0 to ``share``: which share of the regions, rounded down, is replaced after each step.

    Example:
        >>> flipped_shares(4, 0.5).tolist()
        [0.0, 0.125, 0.25, 0.375, 0.5]
    """
    return torch.arange(steps + 1, dtype=torch.float64) * share / steps


def area_over_perturbation_curve(curve: Tensor) -> Tensor:
    """AOPC = 1/(S + 1) · Σ_{s = 0…S} (f(x⁽⁰⁾) − f(x⁽ˢ⁾)), the mean fall along a curve (Samek et al., eq. 12).

    Args:
        curve: (B, S + 1).

    Returns:
        (B,) float64.

    Example:
        >>> area_over_perturbation_curve(torch.tensor([[1.0, 0.5, 0.0]])).item()
        0.5
    """
    curve = checked_tensor(curve, "curve", "B, S + 1").double()
    return (curve[:, :1] - curve).mean(dim=1)
