"""How alike two maps are."""

import torch
from torch import Tensor

from vitrine.metrics.functional import degenerate


def correlations(one: Tensor, other: Tensor) -> Tensor:
    """(B,) float64 Pearson correlations over the pixels of (B, H, W) maps; NaN where either is degenerate."""
    nothing = degenerate(one) | degenerate(other)
    a, b = (_centred(maps) for maps in (one, other))
    found: Tensor = (a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1))
    return found.masked_fill(nothing, torch.nan)


def _centred(maps: Tensor) -> Tensor:
    flat = maps.flatten(1).double()
    flat = flat / flat.abs().amax(dim=1, keepdim=True)  # maps of tiny gradients have squares that vanish
    return flat - flat.mean(dim=1, keepdim=True)


def overlaps(one: Tensor, other: Tensor) -> Tensor:
    """(B,) float64 IoU of where (B, H, W) maps are above their means; NaN where either is degenerate."""
    a, b = (_on(maps) for maps in (one, other))
    found: Tensor = (a & b).sum(dim=1).double() / (a | b).sum(dim=1)
    return found.masked_fill(degenerate(one) | degenerate(other), torch.nan)


def _on(maps: Tensor) -> Tensor:
    flat = maps.flatten(1).double()
    return flat > flat.mean(dim=1, keepdim=True)
