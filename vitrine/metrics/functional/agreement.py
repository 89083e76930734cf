"""Agreement of two maps of an image: correlation and overlap."""

import torch
from torch import Tensor

from vitrine.core.image_ops import degenerate


def map_correlation(one: Tensor, other: Tensor) -> Tensor:
    """(B,) float64: Pearson's r over the pixels of (B, H, W) maps; NaN where either is degenerate.

    Example:
        >>> maps = torch.tensor([[[0.0, 1.0], [2.0, 3.0]]])
        >>> round(map_correlation(maps, 5 - 2 * maps).item(), 6)
        -1.0
    """
    a, b = (_centred(maps) for maps in (one, other))
    found: Tensor = (a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1))
    return found.masked_fill(degenerate(one) | degenerate(other), torch.nan)


def map_overlap(one: Tensor, other: Tensor) -> Tensor:
    """(B,) float64: IoU of where (B, H, W) maps are above their means; NaN where either is degenerate.

    Example:
        >>> maps = torch.tensor([[[0.0, 1.0], [2.0, 3.0]]])
        >>> map_overlap(maps, 3 - maps).item()
        0.0
    """
    a, b = (maps.flatten(1).double() for maps in (one, other))
    a, b = a > a.mean(dim=1, keepdim=True), b > b.mean(dim=1, keepdim=True)
    found = (a & b).sum(dim=1).double() / (a | b).sum(dim=1)
    return found.masked_fill(degenerate(one) | degenerate(other), torch.nan)


def _centred(maps: Tensor) -> Tensor:
    flat = maps.flatten(1).double()
    flat = flat / flat.abs().amax(dim=1, keepdim=True)  # maps of tiny gradients have squares that vanish
    return flat - flat.mean(dim=1, keepdim=True)
