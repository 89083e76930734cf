"""Masks that are sums of a layer's activation maps (equations 6 and 7 of Du et al., KDD 2018)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrine.attribution.precision import in_full, without_autocast


def combined(weights: Tensor, activations: Tensor) -> Tensor:
    """Σᵢ ωᵢ fᵢ (equation 6).

    Args:
        weights: (R, n) ω.
        activations: (R, n, h, w) f.

    Returns:
        (R, 1, h, w) in float32 or wider.
    """
    with without_autocast(activations):
        rows, channels, height, width = activations.shape
        flat = in_full(activations).reshape(rows, channels, height * width)
        return (in_full(weights)[:, None] @ flat).view(rows, 1, height, width)


def minmax_mask(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """(m − min) / (max − min) of (R, 1, h, w) maps (equation 7), then enlarged bilinearly to (R, 1, H, W).

    A constant map becomes zeros. Gradients flow through minimum and maximum.
    """
    lowest, highest = maps.amin(dim=(2, 3), keepdim=True), maps.amax(dim=(2, 3), keepdim=True)
    spread = highest - lowest
    masks = (maps - lowest) / spread.where(spread > 0, torch.ones_like(spread))
    return F.interpolate(masks, size, mode="bilinear", align_corners=False)


def over_maximum_mask(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Enlarged bilinearly with aligned corners, then (m − min) / max: the rule of the authors' code.

    A map of zeros stays one.
    """
    large = F.interpolate(maps, size, mode="bilinear", align_corners=True)
    lowest, highest = large.amin(dim=(2, 3), keepdim=True), large.amax(dim=(2, 3), keepdim=True)
    return (large - lowest) / highest.where(highest != 0, torch.ones_like(highest))
