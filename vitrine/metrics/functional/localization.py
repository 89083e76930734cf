"""Localisation: the tightest box of what is on in a heatmap, against annotated boxes."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import box_iou

from vitrine.core.image_ops import degenerate
from vitrine.metrics.functional.components import largest_component as only_largest


def box_region(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """(H, W) bool: the union of (k, 4) half-open boxes x0, y0, x1, y1; a pixel counts by its centre."""
    height, width = size
    y = torch.arange(height, device=boxes.device)[:, None] + 0.5
    x = torch.arange(width, device=boxes.device) + 0.5
    x0, y0, x1, y1 = (side[:, None, None] for side in boxes.unbind(dim=1))
    return ((x >= x0) & (x < x1) & (y >= y0) & (y < y1)).any(dim=0)


LOCALIZATION_ALPHAS = tuple(step / 2 for step in range(21))
"""α = 0, 0.5 … 10."""

REQUIRED_IOU = 0.5
"""A localisation is a success above it."""


def tightest_box(map: Tensor, alpha: float, *, largest_component: bool = False) -> Tensor:  # noqa: A002 - the paper's word
    """The tightest box of all pixels that are on: map > α · mean(map) (section 4.2 of Du et al., KDD 2018).

    Args:
        map: (H, W), made for values that are not negative.
        alpha: α.
        largest_component: whether only the largest 8-connected component counts, the first in row order of several.

    Returns:
        (4,) float64 x0, y0, x1, y1, half open; NaN where nothing is on, and for a degenerate map.
    """
    return tightest_boxes(map[None], (alpha,), largest_component=largest_component)[0, 0]


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
    """
    values = maps.detach().double()
    pixels = values[0].numel() if len(values) else 1
    # Without a division: values · pixels > α · sum is exact for float32 maps, so that equal is never above.
    scaled, total = values * pixels, values.sum(dim=(1, 2))
    if largest_component:
        rows, columns = _sides_of_largest(scaled, total, alphas)
    else:
        # A row has a pixel that is on where its maximum is: no pixel is looked at A times.
        levels = (torch.tensor(alphas, dtype=torch.float64, device=maps.device) * total[:, None])[..., None]
        rows, columns = scaled.amax(dim=2)[:, None] > levels, scaled.amax(dim=1)[:, None] > levels
    (x0, x1), (y0, y1) = _ends(columns), _ends(rows)
    boxes = torch.stack([x0, y0, x1, y1], dim=2).double()
    nothing = ~rows.any(dim=2) | degenerate(values)[:, None]
    return boxes.masked_fill(nothing[..., None], torch.nan)


def localization_ious(
    maps: Tensor,
    boxes: Sequence[Tensor],
    alphas: Sequence[float] = LOCALIZATION_ALPHAS,
    *,
    largest_component: bool = False,
) -> Tensor:
    """How well the tightest box of each map fits at each α: its highest IoU with any of the image's boxes.

    Args:
        maps: (B, H, W).
        boxes: (k, 4) half-open x0, y0, x1, y1 for each map; without one (k = 0) the IoU is 0.
        alphas: A values of α.
        largest_component: as in `tightest_box`.

    Returns:
        (B, A) float64 in [0, 1]: 0 at an α at which nothing is on, NaN throughout for a degenerate map.
    """
    found = tightest_boxes(maps, alphas, largest_component=largest_component)
    ious = found.new_zeros(found.shape[:2])
    for row, (own, truth) in enumerate(zip(found, boxes, strict=True)):
        if len(truth):
            ious[row] = box_iou(own, truth.to(own)).amax(dim=1).nan_to_num(0)
    return ious.masked_fill(degenerate(maps)[:, None], torch.nan)


def localization_success(
    maps: Tensor, boxes: Sequence[Tensor], alpha: float, *, largest_component: bool = False
) -> Tensor:
    """Whether the tightest box of each map fits: IoU > 0.5 with any of the image's boxes (section 4.2 of Du et al.).

    The arguments are those of `localization_ious`, at one α.

    Returns:
        (B,) float64: 1 for a success, 0 for a failure, NaN for a degenerate map.
    """
    ious = localization_ious(maps, boxes, (alpha,), largest_component=largest_component)[:, 0]
    return (ious > REQUIRED_IOU).double().masked_fill(ious.isnan(), torch.nan)


def localization_error(
    maps: Tensor, boxes: Sequence[Tensor], alpha: float, *, largest_component: bool = False
) -> Tensor:
    """Share of images that are not localised, of those with a box; a degenerate map is a failure.

    The arguments are those of `localization_ious`, at one α.

    Returns:
        () float64 in [0, 1]; NaN where no image has a box.
    """
    success = localization_success(maps, boxes, alpha, largest_component=largest_component)
    annotated = torch.tensor([len(truth) > 0 for truth in boxes], dtype=torch.bool, device=maps.device)
    return (success[annotated] != 1).double().mean()


def _sides_of_largest(scaled: Tensor, total: Tensor, alphas: Sequence[float]) -> tuple[Tensor, Tensor]:
    """(B, A, H) and (B, A, W) bool: which rows and columns the largest component at each α is in."""
    rows, columns = [], []
    for alpha in alphas:
        on = only_largest(scaled > (alpha * total)[:, None, None])
        rows.append(on.any(dim=2))
        columns.append(on.any(dim=1))
    return torch.stack(rows, dim=1), torch.stack(columns, dim=1)


def _ends(on: Tensor) -> tuple[Tensor, Tensor]:
    """(B, A) each: the first of (B, A, N) that is on, and one behind the last."""
    numbers = on.to(torch.uint8)
    return numbers.argmax(dim=2), on.shape[2] - numbers.flip(2).argmax(dim=2)
