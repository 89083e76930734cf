"""The pointing game of Zhang et al. (ECCV 2016)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from vitrine.core.image_ops import degenerate
from vitrine.metrics.functional.localization import box_region


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
