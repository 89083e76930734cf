"""Heatmaps against masks: IoU at thresholds, its curve and area, and the share of energy inside a region."""

from collections.abc import Sequence

import torch
from torch import Tensor

from vitrine.core.image_ops import degenerate
from vitrine.metrics.functional.checks import checked_maps, checked_masks

IOU_THRESHOLDS = tuple(step / 100 for step in range(101))
"""t = 0, 0.01 … 1."""

MAPS_AT_ONCE = 64
"""Number of maps that `iou_at_thresholds` works on at once: bounds its memory, and changes no result."""


def iou_at_thresholds(maps: Tensor, masks: Tensor, thresholds: Sequence[float] | Tensor | None = None) -> Tensor:
    """Intersection over union of thresholded maps and masks, for each image (section 4.3 of Oramas et al., ICLR 2019).

    A map is on where (map − minimum) / (maximum − minimum) ≥ t, compared in float64.

    Args:
        maps: (M, H, W).
        masks: (M, H, W), non-zero on the object.
        thresholds: T increasing values of t; 0, 0.01 … 1 without them.

    Returns:
        (M, T) float64 in [0, 1]: 0 throughout for a degenerate map, NaN for an empty mask.

    Raises:
        ValueError: for thresholds that do not increase, and for masks of another number or size than the maps.

    Example:
        >>> maps, masks = torch.tensor([[[0.0, 0.5], [0.5, 1.0]]]), torch.tensor([[[0, 0], [1, 1]]])
        >>> iou_at_thresholds(maps, masks, [0.2, 0.8]).round(decimals=4).tolist()
        [[0.6667, 0.5]]
    """
    maps = checked_maps(maps)
    masks = checked_masks(masks, maps)
    levels = torch.as_tensor(IOU_THRESHOLDS if thresholds is None else thresholds, dtype=torch.float64)
    if levels.ndim != 1 or not bool((levels.diff() > 0).all()):
        raise ValueError(f"thresholds are {levels.tolist()}; give a list of increasing numbers.")
    pairs = zip(torch.split(maps, MAPS_AT_ONCE), torch.split(masks, MAPS_AT_ONCE), strict=True)
    return torch.cat([_iou_at_levels(some_maps, some_masks, levels.to(maps.device)) for some_maps, some_masks in pairs])


def _iou_at_levels(maps: Tensor, masks: Tensor, levels: Tensor) -> Tensor:
    """(M, T) from a histogram of how many levels each pixel reaches, which reads each pixel once, not T times."""
    values, inside = maps.flatten(1).double(), masks.flatten(1) != 0
    low, high = values.amin(dim=1, keepdim=True), values.amax(dim=1, keepdim=True)
    normalised = ((values - low) / (high - low)).masked_fill(degenerate(maps)[:, None], -torch.inf)
    num_reached = torch.bucketize(normalised, levels, right=True)
    num_bins = len(levels) + 1
    histogram_index = 2 * torch.arange(len(maps), device=maps.device)[:, None] + inside
    flat_bins = (histogram_index * num_bins + num_reached).flatten()
    histograms = torch.bincount(flat_bins, minlength=2 * len(maps) * num_bins).reshape(len(maps), 2, num_bins)
    on = histograms.flip(2).cumsum(dim=2).flip(2)[..., 1:]  # pixels outside and inside the mask that reach each level
    area = inside.sum(dim=1, keepdim=True)
    return (on[:, 1].double() / (on[:, 0] + area)).masked_fill(area == 0, torch.nan)


def iou_curve(maps: Tensor, masks: Tensor, thresholds: Sequence[float] | Tensor | None = None) -> Tensor:
    """The mean of `iou_at_thresholds` over the images that have a mask, at each threshold.

    The arguments and errors are those of `iou_at_thresholds`.

    Returns:
        (T,) float64 in [0, 1]; NaN without an image that has a mask.

    Example:
        >>> maps, masks = torch.rand(4, 8, 8), torch.ones(4, 8, 8)
        >>> iou_curve(maps, masks).shape
        torch.Size([101])
    """
    curves = iou_at_thresholds(maps, masks, thresholds)
    return curves[~curves.isnan().any(dim=1)].mean(dim=0)


def iou_curve_area(maps: Tensor, masks: Tensor) -> Tensor:
    """Area under `iou_curve` over t = 0 … 1 by the trapezoidal rule, in percent (table 1 of Oramas et al., ICLR 2019).

    Args:
        maps: (M, H, W).
        masks: (M, H, W), non-zero on the object.

    Returns:
        () float64 in [0, 100]; NaN without an image that has a mask.

    Example:
        >>> masks = torch.zeros(1, 8, 8)
        >>> masks[:, :, :4] = 1
        >>> iou_curve_area(masks, masks).item()  # 100 % but for t = 0, at which the whole map is on
        99.75
    """
    return area_under_iou(iou_curve(maps, masks))


def area_under_iou(curve: Tensor) -> Tensor:
    """(…) areas in percent under (…, 101) curves at the thresholds 0, 0.01 … 1, by the trapezoidal rule.

    Raises:
        ValueError: for a curve of another length.

    Example:
        >>> area_under_iou(torch.linspace(0, 1, 101, dtype=torch.float64)).round(decimals=6).item()
        50.0
    """
    if curve.shape[-1:] != (len(IOU_THRESHOLDS),):
        raise ValueError(
            f"curve has the shape {tuple(curve.shape)}; give ({len(IOU_THRESHOLDS)},), one IoU a threshold."
        )
    return 100 * torch.trapezoid(curve, torch.tensor(IOU_THRESHOLDS, dtype=curve.dtype, device=curve.device))


def energy_inside(maps: Tensor, region: Tensor) -> Tensor:
    """Share of each map's positive part inside a region (energy-based pointing game of Wang et al., Score-CAM, 2020).

    Args:
        maps: (B, H, W).
        region: (B, H, W), non-zero inside.

    Returns:
        (B,) in [0, 1]; NaN for a map without a positive value, a constant one, or one with NaN or infinity.

    Raises:
        ValueError: for a region of another number or size than the maps.

    Example:
        >>> energy_inside(torch.tensor([[[3.0, 1.0], [-2.0, 0.0]]]), torch.tensor([[[1, 0], [1, 0]]])).item()
        0.75
    """
    maps = checked_maps(maps)
    region = checked_masks(region, maps, "region")
    flat = maps.flatten(1)
    positive = flat.nan_to_num(0, 0, 0).clamp(min=0).double()
    share = (positive * (region.flatten(1) != 0)).sum(dim=1) / positive.sum(dim=1)
    return share.masked_fill(degenerate(maps) | (flat.amax(dim=1) <= 0), torch.nan)
