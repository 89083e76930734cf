"""A heatmap as a distribution over pixels (section 4.1 of Qi et al.)."""

import torch
from torch import Tensor


def pixel_probabilities(maps: Tensor) -> Tensor:
    """P(pixel | x-feature) = S_ij = C_ij / Σ C, negative values of the map C cut to 0 before (section 4.1 of Qi et al.).

    Args:
        maps: (n, H, W).

    Returns:
        (n, H, W) float64 that sums to 1 over each image; NaN throughout for a map without a positive value or with NaN or
        infinity in it.
    """
    positive = maps.double().clamp(min=0)
    finite = maps.isfinite().flatten(1).all(dim=1)[:, None, None]
    return (positive / positive.sum(dim=(1, 2), keepdim=True)).masked_fill(~finite, torch.nan)
