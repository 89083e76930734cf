"""Sparseness (Chalasani et al., ICML 2020) and complexity (Bhatt, Weller and Moura, IJCAI 2020) of heatmaps."""

import torch
from torch import Tensor

from vitrine.metrics.functional.checks import checked_maps


def sparseness(maps: Tensor) -> Tensor:
    """Gini index of a map's absolute values: 0 where all are the same, 1 − 1/n where one of n pixels has all.

    G = Σᵢ (2i − n − 1) aᵢ / (n Σᵢ aᵢ), where a₁ ≤ … ≤ aₙ.

    Args:
        maps: (B, H, W).

    Returns:
        (B,) float64; NaN for maps of zeros and those with NaN or infinity.

    Raises:
        ValueError: for another shape.

    Example:
        >>> sparseness(torch.tensor([[[0.0, 0.0], [0.0, 5.0]], [[1.0, 1.0], [1.0, 1.0]]]))
        tensor([0.7500, 0.0000], dtype=torch.float64)
    """
    shares = _shares(maps).sort(dim=1).values
    count = shares.shape[1]
    weights = 2 * torch.arange(1, count + 1, dtype=torch.float64, device=maps.device) - count - 1
    return (shares @ weights) / count


def complexity(maps: Tensor) -> Tensor:
    """Entropy of a map's absolute values as shares of their sum: 0 where one pixel has all, ln n where n have the same.

    H = −Σᵢ Pᵢ ln Pᵢ, where Pᵢ = |aᵢ| / Σⱼ |aⱼ|.

    Args:
        maps: (B, H, W).

    Returns:
        (B,) float64, in nats; NaN for maps of zeros and those with NaN or infinity.

    Raises:
        ValueError: for another shape.

    Example:
        >>> complexity(torch.ones(1, 2, 2)).exp()
        tensor([4.], dtype=torch.float64)
    """
    shares = _shares(maps)
    return -torch.xlogy(shares, shares).sum(dim=1)


def _shares(maps: Tensor) -> Tensor:
    """(B, n) float64 absolute values that sum to 1; NaN for maps of zeros and those with NaN or infinity."""
    sizes = checked_maps(maps).detach().double().abs().flatten(1)
    sizes = sizes / sizes.amax(dim=1, keepdim=True)  # so that the sum of large ones stays finite
    shares = sizes / sizes.sum(dim=1, keepdim=True)
    return shares.where(shares.isfinite().all(dim=1, keepdim=True), torch.nan)
