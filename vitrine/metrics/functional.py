"""The pure functions under the metrics."""

from collections.abc import Sequence

import torch
from torch import Tensor

IOU_THRESHOLDS = tuple(step / 100 for step in range(101))
"""t = 0, 0.01 … 1."""

MAPS_AT_ONCE = 64
"""Bounds the memory of `iou_at_thresholds`; changes no result."""


def absolute_difference(reconstruction: Tensor, logits: Tensor, explained_classes: Tensor) -> Tensor:
    """|ȳ − ŷ| of each image and explained class (F_reg of section 4.1 in Qi et al., before its mean).

    Args:
        reconstruction: (B, J) the heads' estimates ȳ.
        logits: (B, C) the backbone's logits ŷ.
        explained_classes: (J,) the classes that the columns of ``reconstruction`` stand for.

    Returns:
        (B, J).
    """
    return (reconstruction - logits[:, explained_classes]).abs()


def decision_kept(reconstruction: Tensor, logits: Tensor, explained_classes: Tensor) -> Tensor:
    """Whether the classification stays when one logit ŷ_j is replaced by its estimate ȳ_j (F_cls of section 4.1).

    The arguments are those of `absolute_difference`.

    Returns:
        (B, J) bool.
    """
    decision = logits.argmax(dim=1, keepdim=True)
    columns = []
    for column, index in zip(reconstruction.unbind(dim=1), explained_classes.tolist(), strict=True):
        replaced = logits.clone()
        replaced[:, index] = column.to(logits.dtype)
        columns.append(replaced.argmax(dim=1, keepdim=True) == decision)
    return torch.cat(columns, dim=1)


def degenerate(maps: Tensor) -> Tensor:
    """Which maps say nothing of where: constant ones, such as zeros alone, and those with NaN or infinity in them.

    Args:
        maps: (B, H, W).

    Returns:
        (B,) bool.
    """
    flat = maps.flatten(1)
    return ~flat.isfinite().all(dim=1) | (flat.amax(dim=1) == flat.amin(dim=1))


def energy_inside(maps: Tensor, region: Tensor) -> Tensor:
    """Share of each map's positive part that lies in a region (the energy-based pointing game of Wang et al. 2020).

    Args:
        maps: (B, H, W).
        region: (B, H, W), non-zero inside.

    Returns:
        (B,) in [0, 1]; NaN for a degenerate map: one without positive part, constant, or with NaN or infinity in it.
    """
    flat = maps.flatten(1)
    positive = flat.nan_to_num(0, 0, 0).clamp(min=0).double()
    inside = (positive * (region.flatten(1) != 0)).sum(dim=1) / positive.sum(dim=1)
    return inside.masked_fill(degenerate(maps) | (flat.amax(dim=1) <= 0), torch.nan)


def box_region(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """(H, W) bool: the union of (k, 4) half-open boxes x0, y0, x1, y1; a pixel counts by its centre."""
    height, width = size
    y = torch.arange(height, device=boxes.device)[:, None] + 0.5
    x = torch.arange(width, device=boxes.device) + 0.5
    x0, y0, x1, y1 = (side[:, None, None] for side in boxes.unbind(dim=1))
    return ((x >= x0) & (x < x1) & (y >= y0) & (y < y1)).any(dim=0)


def maximum_point(maps: Tensor) -> Tensor:
    """The pixel at each map's maximum, the first in row order where several share it.

    Args:
        maps: (B, H, W).

    Returns:
        (B, 2) int64: x, y.
    """
    index = maps.flatten(1).argmax(dim=1)
    return torch.stack([index % maps.shape[2], index // maps.shape[2]], dim=1)


def pointing_hit(maps: Tensor, boxes: Sequence[Tensor | None], tolerance: float = 15.0) -> Tensor:
    """Whether each map's maximum lies in a box or near one (the pointing game of Zhang et al., ECCV 2016).

    With p the `maximum_point`, a hit is min ‖p − q‖₂ ≤ tolerance over all pixels q that a box touches: a disc of that radius
    around p meets a box. A half-open box x0 … x1 touches the columns ⌊x0⌋ … ⌈x1⌉ − 1.

    Args:
        maps: (B, H, W).
        boxes: (k, 4) half-open x0, y0, x1, y1 for each map; without one (k = 0, or None) nothing can be hit.
        tolerance: pixels.

    Returns:
        (B,) float: 1 for a hit, 0 for a miss, NaN for a degenerate map.
    """
    points = maximum_point(maps).double()
    hits = torch.zeros(len(maps), device=maps.device)
    for row, (point, near) in enumerate(zip(points, boxes, strict=True)):
        if near is not None:
            hits[row] = (_distances(point, near.double()) <= tolerance).any()
    return hits.masked_fill(degenerate(maps), torch.nan)


def _distances(point: Tensor, boxes: Tensor) -> Tensor:
    """(k,) from a pixel x, y to the nearest pixel of each (k, 4) box."""
    first, last = boxes[:, :2].floor(), boxes[:, 2:].ceil() - 1
    return torch.maximum(first - point, point - last).clamp(min=0).square().sum(dim=1).sqrt()


def is_difficult(
    boxes: Tensor,
    box_labels: Tensor,
    label: int,
    size: tuple[int, int],
    box_difficult: Tensor | None = None,
) -> bool:
    """Whether an (image, class) pair is of the pointing game's difficult subset (Zhang et al., ECCV 2016).

    It is where the union of the class's boxes covers less than a quarter of the image, and another class is in the image.
    A class is in the image if it has an object that is not flagged difficult; to the union all of its objects count. These
    details reproduce the published subset of VOC 2007.

    Args:
        boxes: (k, 4) half-open x0, y0, x1, y1 of all objects in the image.
        box_labels: (k,) the class of each.
        label: the pair's class.
        size: height and width of the image.
        box_difficult: (k,) bool, whether an object is flagged difficult; none is where this is absent.
    """
    present = box_labels if box_difficult is None else box_labels[~box_difficult]
    own = box_region(boxes[box_labels == label], size)
    small = 4 * int(own.sum()) < own.numel()
    return small and bool((present == label).any()) and bool((present != label).any())


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
