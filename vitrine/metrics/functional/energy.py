"""Share of a map in a region."""

import torch
from torch import Tensor

from vitrine.metrics.functional.degeneracy import degenerate


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
