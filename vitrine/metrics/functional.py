"""The pure functions under the metrics."""

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


def energy_inside(maps: Tensor, region: Tensor) -> Tensor:
    """Share of each map's positive part that lies in a region (the energy-based pointing game of Wang et al. 2020).

    Args:
        maps: (B, H, W).
        region: (B, H, W), non-zero inside.

    Returns:
        (B,) in [0, 1]; NaN for a degenerate map: one without positive part, constant, or with NaN or infinity in it.
    """
    flat = maps.flatten(1)
    degenerate = ~flat.isfinite().all(dim=1) | (flat.amax(dim=1) <= 0) | (flat.amax(dim=1) == flat.amin(dim=1))
    positive = flat.nan_to_num(0, 0, 0).clamp(min=0).double()
    inside = (positive * (region.flatten(1) != 0)).sum(dim=1) / positive.sum(dim=1)
    return inside.masked_fill(degenerate, torch.nan)


def box_region(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """(H, W) bool: the union of (k, 4) half-open boxes x0, y0, x1, y1; a pixel counts by its centre."""
    height, width = size
    y = torch.arange(height, device=boxes.device)[:, None] + 0.5
    x = torch.arange(width, device=boxes.device) + 0.5
    x0, y0, x1, y1 = (side[:, None, None] for side in boxes.unbind(dim=1))
    return ((x >= x0) & (x < x1) & (y >= y0) & (y < y1)).any(dim=0)
