"""Weakly supervised localisation: the tightest box of a thresholded heatmap against annotated boxes."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import box_iou

from vitrine.core.image_ops import degenerate
from vitrine.metrics.functional.checks import checked_boxes, checked_maps
from vitrine.metrics.functional.components import largest_component as largest_component_of

LOCALIZATION_ALPHAS = tuple(step / 2 for step in range(21))
"""α = 0, 0.5 … 10."""

REQUIRED_IOU = 0.5
"""A localisation is a success where its IoU is above this."""


def box_region(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """(H, W) bool: the union of (k, 4) half-open boxes x0, y0, x1, y1; a pixel is inside by its centre.

    A flipped box contains no pixel.

    Example:
        >>> box_region(torch.tensor([[0.0, 0.0, 2.0, 1.0]]), (2, 3)).int().tolist()
        [[1, 1, 0], [0, 0, 0]]
    """
    height, width = size
    y = torch.arange(height, device=boxes.device)[:, None] + 0.5
    x = torch.arange(width, device=boxes.device) + 0.5
    x0, y0, x1, y1 = (side[:, None, None] for side in boxes.unbind(dim=1))
    return ((x >= x0) & (x < x1) & (y >= y0) & (y < y1)).any(dim=0)


def tightest_box(map: Tensor, alpha: float, *, largest_component: bool = False) -> Tensor:  # noqa: A002 - the paper's word
    """The tightest box around all pixels that are on: map > α · mean(map) (section 4.2 of Du et al., KDD 2018).

    Args:
        map: (H, W), not negative.
        alpha: α.
        largest_component: whether only the largest 8-connected component is on, the first in row-major order of several.

    Returns:
        (4,) float64 x0, y0, x1, y1, half open; NaN where no pixel is on, and for a degenerate map.

    Example:
        >>> map = torch.zeros(8, 8)
        >>> map[2:4, 1:6] = 1
        >>> tightest_box(map, alpha=1.0).tolist()
        [1.0, 2.0, 6.0, 4.0]
    """
    return tightest_boxes(checked_maps(map, "map", "H, W")[None], (alpha,), largest_component=largest_component)[0, 0]


def tightest_boxes(
    maps: Tensor, alphas: Sequence[float] = LOCALIZATION_ALPHAS, *, largest_component: bool = False
) -> Tensor:
    """`tightest_box` of many maps at many α.

    Args:
        maps: (B, H, W).
        alphas: A values of α.
        largest_component: as in `tightest_box`.

    Returns:
        (B, A, 4) float64.

    Raises:
        ValueError: for maps that are not (B, H, W), and for an α that is not finite.

    Example:
        >>> tightest_boxes(torch.rand(2, 8, 8)).shape
        torch.Size([2, 21, 4])
    """
    maps = checked_maps(maps)
    if not all(math.isfinite(alpha) for alpha in alphas):
        raise ValueError(f"alphas are {tuple(alphas)}; give finite numbers.")
    values = maps.detach().double()
    num_pixels = values[0].numel() if len(values) else 1
    # Multiplied, not divided: values · pixels > α · sum is exact for float32 maps, so that equal values are never above.
    scaled, total = values * num_pixels, values.sum(dim=(1, 2))
    if largest_component:
        rows_on, columns_on = _sides_of_largest_component(scaled, total, alphas)
    else:
        # A row has a pixel that is on where its maximum is on: this reads each pixel once, not A times.
        levels = (torch.tensor(alphas, dtype=torch.float64, device=maps.device) * total[:, None])[..., None]
        rows_on, columns_on = scaled.amax(dim=2)[:, None] > levels, scaled.amax(dim=1)[:, None] > levels
    (x0, x1), (y0, y1) = _first_and_end(columns_on), _first_and_end(rows_on)
    boxes = torch.stack([x0, y0, x1, y1], dim=2).double()
    undefined = ~rows_on.any(dim=2) | degenerate(values)[:, None]
    return boxes.masked_fill(undefined[..., None], torch.nan)


def localization_ious(
    maps: Tensor,
    boxes: Sequence[Tensor | None],
    alphas: Sequence[float] = LOCALIZATION_ALPHAS,
    *,
    largest_component: bool = False,
) -> Tensor:
    """Highest IoU of the tightest box of each map, at each α, with any of the image's boxes.

    Args:
        maps: (B, H, W).
        boxes: B tensors (k, 4) of half-open x0, y0, x1, y1; without a box (k = 0, or None) the IoU is 0.
        alphas: A values of α.
        largest_component: as in `tightest_box`.

    Returns:
        (B, A) float64 in [0, 1]: 0 at an α at which no pixel is on, NaN throughout for a degenerate map.

    Raises:
        ValueError: as in `tightest_boxes`, for another number of images, a flipped box, and one with NaN or infinity.

    Example:
        >>> maps = torch.zeros(1, 8, 8)
        >>> maps[:, 2:4, 0:4] = 1
        >>> localization_ious(maps, [torch.tensor([[0.0, 2.0, 8.0, 4.0]])], alphas=(1.0, 2.0)).tolist()
        [[0.5, 0.5]]
    """
    predicted = tightest_boxes(maps, alphas, largest_component=largest_component)
    ious = predicted.new_zeros(predicted.shape[:2])
    for image, (of_map, annotated) in enumerate(zip(predicted, checked_boxes(boxes, len(maps)), strict=True)):
        if len(annotated):
            ious[image] = box_iou(of_map, annotated.to(of_map)).amax(dim=1).nan_to_num(0)
    return ious.masked_fill(degenerate(maps)[:, None], torch.nan)


def localization_success(
    maps: Tensor, boxes: Sequence[Tensor | None], alpha: float, *, largest_component: bool = False
) -> Tensor:
    """Whether the tightest box of each map fits: IoU > 0.5 with any of the image's boxes (section 4.2 of Du et al.).

    The arguments are those of `localization_ious`, at one α.

    Returns:
        (B,) float64: 1 for a success, 0 for a failure, NaN for a degenerate map.

    Example:
        >>> maps = torch.zeros(1, 8, 8)
        >>> maps[:, 2:4, 0:5] = 1
        >>> localization_success(maps, [torch.tensor([[0.0, 2.0, 8.0, 4.0]])], alpha=1.0).tolist()  # IoU 5/8
        [1.0]
    """
    ious = localization_ious(maps, boxes, (alpha,), largest_component=largest_component)[:, 0]
    return (ious > REQUIRED_IOU).double().masked_fill(ious.isnan(), torch.nan)


def localization_error(
    maps: Tensor, boxes: Sequence[Tensor | None], alpha: float, *, largest_component: bool = False
) -> Tensor:
    """Share of failures of `localization_success` among the images with a box; a degenerate map is a failure.

    The arguments are those of `localization_ious`, at one α.

    Returns:
        () float64 in [0, 1]; NaN without an image that has a box.

    Example:
        >>> maps = torch.zeros(2, 8, 8)
        >>> maps[0, 2:4, 0:5] = 1  # the second map is degenerate
        >>> localization_error(maps, [torch.tensor([[0.0, 2.0, 8.0, 4.0]])] * 2, alpha=1.0).item()
        0.5
    """
    success = localization_success(maps, boxes, alpha, largest_component=largest_component)
    has_box = torch.tensor(
        [len(rows) > 0 for rows in checked_boxes(boxes, len(maps))], dtype=torch.bool, device=maps.device
    )
    return (success[has_box] != 1).double().mean()


def _sides_of_largest_component(scaled: Tensor, total: Tensor, alphas: Sequence[float]) -> tuple[Tensor, Tensor]:
    """(B, A, H) and (B, A, W) bool: the rows and columns of the largest component at each α."""
    rows_on, columns_on = [], []
    for alpha in alphas:
        on = largest_component_of(scaled > (alpha * total)[:, None, None])
        rows_on.append(on.any(dim=2))
        columns_on.append(on.any(dim=1))
    return torch.stack(rows_on, dim=1), torch.stack(columns_on, dim=1)


def _first_and_end(on: Tensor) -> tuple[Tensor, Tensor]:
    """(B, A) each: the first of (B, A, N) that is on, and one past the last."""
    integers = on.to(torch.uint8)
    return integers.argmax(dim=2), on.shape[2] - integers.flip(2).argmax(dim=2)
