"""Overlap of thresholded maps and masks (section 4.3 of Oramas et al., ICLR 2019)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from vitrine.metrics.functional.degeneracy import degenerate

IOU_THRESHOLDS = tuple(step / 100 for step in range(101))
"""t = 0, 0.01 … 1."""

MAPS_AT_ONCE = 64
"""Bounds the memory of `iou_at_thresholds`; changes no result."""


def iou_at_thresholds(maps: Tensor, masks: Tensor, thresholds: Sequence[float] | Tensor | None = None) -> Tensor:
    """Intersection over union of thresholded maps and masks, image by image (section 4.3 of Oramas et al., ICLR 2019).

    A map is on where (map − minimum) / (maximum − minimum) ≥ t, compared in float64.

    Args:
        maps: (M, H, W).
        masks: (M, H, W), non-zero on what is to be found.
        thresholds: T rising values of t; 0, 0.01 … 1 without them.

    Returns:
        (M, T) float64 in [0, 1]: 0 throughout for a degenerate map, NaN for an empty mask.

    Raises:
        ValueError: for thresholds that do not rise.
    """
    levels = torch.as_tensor(IOU_THRESHOLDS if thresholds is None else thresholds, dtype=torch.float64)
    if levels.ndim != 1 or not bool((levels.diff() > 0).all()):
        raise ValueError(f"thresholds must be a list of rising numbers, got {levels.tolist()}.")
    pairs = zip(torch.split(maps, MAPS_AT_ONCE), torch.split(masks, MAPS_AT_ONCE), strict=True)
    return torch.cat([_iou_at_levels(part, mask, levels.to(maps.device)) for part, mask in pairs])


def _iou_at_levels(maps: Tensor, masks: Tensor, levels: Tensor) -> Tensor:
    """(M, T) from a histogram of how many levels each pixel reaches, so that no pixel is looked at T times."""
    values, inside = maps.flatten(1).double(), masks.flatten(1) != 0
    low, high = values.amin(dim=1, keepdim=True), values.amax(dim=1, keepdim=True)
    normalised = ((values - low) / (high - low)).masked_fill(degenerate(maps)[:, None], -torch.inf)
    reached = torch.bucketize(normalised, levels, right=True)
    bins = len(levels) + 1
    place = 2 * torch.arange(len(maps), device=maps.device)[:, None] + inside
    counts = torch.bincount((place * bins + reached).flatten(), minlength=2 * len(maps) * bins)
    on = counts.reshape(len(maps), 2, bins).flip(2).cumsum(dim=2).flip(2)[..., 1:]
    area = inside.sum(dim=1, keepdim=True)
    return (on[:, 1].double() / (on[:, 0] + area)).masked_fill(area == 0, torch.nan)


def iou_curve(maps: Tensor, masks: Tensor, thresholds: Sequence[float] | Tensor | None = None) -> Tensor:
    """The mean of `iou_at_thresholds` over the images that have a mask, at each threshold.

    The arguments and errors are those of `iou_at_thresholds`.

    Returns:
        (T,) float64 in [0, 1]; NaN where no image has a mask.
    """
    curves = iou_at_thresholds(maps, masks, thresholds)
    return curves[~curves.isnan().any(dim=1)].mean(dim=0)


def iou_curve_area(maps: Tensor, masks: Tensor) -> Tensor:
    """Area under `iou_curve` over t = 0 … 1 by the trapezoid rule, in percent (table 1 of Oramas et al., ICLR 2019).

    Args:
        maps: (M, H, W).
        masks: (M, H, W), non-zero on what is to be found.

    Returns:
        () float64 in [0, 100]; NaN where no image has a mask.
    """
    return area_under_iou(iou_curve(maps, masks))


def area_under_iou(curve: Tensor) -> Tensor:
    """() in percent: the trapezoid rule over a (101,) curve at the thresholds 0, 0.01 … 1."""
    return 100 * torch.trapezoid(curve, torch.tensor(IOU_THRESHOLDS, dtype=curve.dtype, device=curve.device))
