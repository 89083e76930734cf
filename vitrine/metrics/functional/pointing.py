"""Pointing game: hits of a heatmap's maximum, and the difficult subset (Zhang et al., ECCV 2016)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from vitrine.core.image_ops import degenerate
from vitrine.metrics.functional.checks import checked_box_rows, checked_boxes, checked_maps
from vitrine.metrics.functional.localization import box_region


def maximum_point(maps: Tensor) -> Tensor:
    """The pixel of each map's maximum, the first in row-major order of several.

    Args:
        maps: (B, H, W).

    Returns:
        (B, 2) int64: x, y.

    Example:
        >>> maximum_point(torch.tensor([[[0.0, 0.0, 3.0], [1.0, 0.0, 0.0]]])).tolist()
        [[2, 0]]
    """
    index = checked_maps(maps).flatten(1).argmax(dim=1)
    return torch.stack([index % maps.shape[2], index // maps.shape[2]], dim=1)


def source_pixels(points: Tensor, size: tuple[int, int], windows: Tensor, source_sizes: Tensor) -> Tensor:
    """The pixels of source images that show the centres of a network input's pixels.

    Bilinear enlargement keeps the place of a map's maximum, so this is where a map of the source's own size has it.

    Args:
        points: (B, 2) x, y: pixels of the input.
        size: (H, W) of the input.
        windows: (B, 4) x0, y0, x1, y1: edges of the input in pixels of each source, as ``source_window`` of a `Batch`.
        source_sizes: (B, 2) height and width of each source.

    Returns:
        (B, 2) int64 x, y, on the CPU.

    Example:
        >>> whole = torch.tensor([[0.0, 0.0, 500.0, 300.0]])
        >>> source_pixels(torch.tensor([[50, 99]]), (100, 100), whole, torch.tensor([[300, 500]])).tolist()
        [[252, 298]]
    """
    points, windows, source_sizes = (tensor.cpu() for tensor in (points, windows, source_sizes))
    shares = (points.double() + 0.5) / torch.tensor([size[1], size[0]], dtype=torch.float64)
    first, end = windows.double()[:, :2], windows.double()[:, 2:]
    # Windows are float32: without rounding, a centre on the edge between two pixels is now in one, now in the other.
    pixels = (first + shares * (end - first)).round(decimals=2).floor().long()
    kept: Tensor = pixels.clamp(min=0).minimum(source_sizes.flip(1) - 1)
    return kept


def pointing_hit(maps: Tensor, boxes: Sequence[Tensor | None], tolerance: float = 0.0) -> Tensor:
    """Whether each map's maximum lies in a box or within a tolerance of one (Zhang et al., ECCV 2016).

    With p the `maximum_point`, a hit is min ‖p − q‖₂ ≤ tolerance over all pixels q that a box touches. A half-open box
    x0 … x1 touches the columns ⌊x0⌋ … ⌈x1⌉ − 1.

    Args:
        maps: (B, H, W).
        boxes: B tensors (k, 4) of half-open x0, y0, x1, y1; without a box (k = 0, or None) there is no hit.
        tolerance: in pixels, 0 or more; 15 in Zhang et al.

    Returns:
        (B,) float: 1 for a hit, 0 for a miss, NaN for a degenerate map.

    Raises:
        ValueError: for maps that are not (B, H, W), another number of boxes, a flipped box, and a negative tolerance.

    Example:
        >>> maps = torch.zeros(1, 32, 32)
        >>> maps[0, 10, 10] = 1
        >>> pointing_hit(maps, [torch.tensor([[12.0, 8.0, 20.0, 20.0]])], tolerance=1).item()
        0.0
        >>> pointing_hit(maps, [torch.tensor([[12.0, 8.0, 20.0, 20.0]])], tolerance=2).item()
        1.0
    """
    return points_hit(maximum_point(maps), boxes, tolerance).masked_fill(degenerate(maps), torch.nan)


def points_hit(points: Tensor, boxes: Sequence[Tensor | None], tolerance: float = 0.0) -> Tensor:
    """(B,) float: 1 where `pointing_hit` finds a hit of a map with its maximum at the (B, 2) pixel x, y; else 0.

    Raises:
        ValueError: for another number of boxes, a flipped box, and a negative tolerance.
    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance is {tolerance}; give 0 pixels or more.")
    hits = torch.zeros(len(points), device=points.device)
    for image, (point, of_image) in enumerate(zip(points.double(), checked_boxes(boxes, len(points)), strict=True)):
        hits[image] = (_distances(point, of_image.to(point)) <= tolerance).any()
    return hits


def _distances(point: Tensor, boxes: Tensor) -> Tensor:
    """(k,) from a pixel x, y to the nearest pixel of each (k, 4) box; infinite for a box without area."""
    first, last = boxes[:, :2].floor(), boxes[:, 2:].ceil() - 1
    distances = torch.maximum(first - point, point - last).clamp(min=0).square().sum(dim=1).sqrt()
    return distances.masked_fill((boxes[:, :2] >= boxes[:, 2:]).any(dim=1), torch.inf)


def is_difficult(
    boxes: Tensor,
    box_labels: Tensor,
    label: int,
    size: tuple[int, int],
    box_difficult: Tensor | None = None,
) -> bool:
    """Whether an (image, class) pair belongs to the pointing game's difficult subset (Zhang et al., ECCV 2016).

    It does where the union of the class's boxes covers less than a quarter of the image, and another class is present. A
    class is present if it has an object that is not flagged difficult; the union is that of all of its objects. These details
    reproduce the published subset of VOC 2007.

    Args:
        boxes: (k, 4) half-open x0, y0, x1, y1 of all objects in the image.
        box_labels: (k,) class of each.
        label: the pair's class.
        size: height and width of the image.
        box_difficult: (k,) bool: whether an object is flagged difficult; none is without it.

    Raises:
        ValueError: for labels or flags of another number than the boxes, and for a flipped box.

    Example:
        >>> boxes, classes = torch.tensor([[0.0, 0.0, 3.0, 3.0], [3.0, 3.0, 10.0, 10.0]]), torch.tensor([4, 7])
        >>> is_difficult(boxes, classes, 4, (10, 10)), is_difficult(boxes, classes, 7, (10, 10))
        (True, False)
    """
    boxes = checked_box_rows(boxes)
    for name, values in (("box_labels", box_labels), ("box_difficult", box_difficult)):
        if values is not None and values.shape != (len(boxes),):
            raise ValueError(f"{name} has the shape {tuple(values.shape)} for {len(boxes)} boxes; give one a box.")
    present = box_labels if box_difficult is None else box_labels[~box_difficult.bool()]
    covered = box_region(boxes[box_labels == label], size)
    is_small = 4 * int(covered.sum()) < covered.numel()
    return is_small and bool((present == label).any()) and bool((present != label).any())
