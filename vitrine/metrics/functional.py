"""The pure functions under the metrics."""

from collections.abc import Sequence

import torch
from torch import Tensor


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
