"""Inversion masks: weighted sums of feature maps, and their normalisation (equations 6 and 7 of Du et al., KDD 2018)."""

from dataclasses import dataclass, replace
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrine.core.image_ops import constant, gaussian_blur
from vitrine.core.precision import in_full, without_autocast


@dataclass(frozen=True)
class MaskMaps:
    """The feature maps fᵢ of R rows, of one layer or several, of which masks are weighted sums."""

    layers: tuple[Tensor, ...]
    """(R, nₗ, hₗ, wₗ) ≥ 0 of each layer, at its own resolution."""
    gate: Tensor | None = None
    """(R, 1, h, w) ≥ 0: a factor of the sum."""
    smoothing: float = 0.0
    """σ, as a share of the width, of a Gaussian over the sum."""

    @classmethod
    def of(cls, layers: list[Tensor], top: Tensor | None = None, gate: float = 0.0, smoothing: float = 0.0) -> Self:
        """Makes the maps; those of several layers are divided by the mean of their sum, so that no layer outweighs another.

        Args:
            layers: (R, nₗ, hₗ, wₗ) ≥ 0 of each.
            top: (R, 1, h, w) ≥ 0, of which the gate is a power.
            gate: the exponent of ``top`` over its mean.
            smoothing: see above.
        """
        balanced = [m / _mean_sum(m) for m in layers] if len(layers) > 1 else layers
        gates = None if top is None else (top / _mean_sum(top)) ** gate
        return cls(tuple(balanced), gates, smoothing)

    @property
    def channels(self) -> int:
        """The number of maps, n = Σ nₗ."""
        return sum(m.shape[1] for m in self.layers)

    def rows(self, selection: Tensor | slice) -> Self:
        """The maps of some rows, by (r,) indices or a slice."""
        gate = None if self.gate is None else self.gate[selection]
        return replace(self, layers=tuple(m[selection] for m in self.layers), gate=gate)

    def even_weights(self, weight: float) -> Tensor:
        """(R, n) ω that are all equal."""
        return self.layers[0].new_full((len(self.layers[0]), self.channels), weight)

    def combined(self, weights: Tensor) -> Tensor:
        """Σᵢ ωᵢ fᵢ (equation 6), at the size of the largest map.

        Args:
            weights: (R, n) ω.

        Returns:
            (R, 1, h, w) in float32 or wider.
        """
        with without_autocast(self.layers[0]):
            layer_weights = torch.split(in_full(weights), [m.shape[1] for m in self.layers], dim=1)
            sums = [_weighted_sum(w, in_full(m)) for w, m in zip(layer_weights, self.layers, strict=True)]
            largest = max((m.shape[2:] for m in self.layers), key=lambda cells: cells[0] * cells[1])
            total = torch.stack([_upsampled(one, largest) for one in sums]).sum(dim=0)
            if self.gate is not None:
                total = total * _upsampled(in_full(self.gate), largest)
            return gaussian_blur(total, self.smoothing * largest[1]) if self.smoothing else total


def minmax_mask(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """(m − min) / (max − min) of (R, 1, h, w) maps (equation 7), then upsampled bilinearly to (R, 1, H, W).

    A `constant` map becomes zeros. Gradients flow through minimum and maximum.
    """
    is_constant = constant(maps)[..., None, None]
    lowest, highest = maps.amin(dim=(2, 3), keepdim=True), maps.amax(dim=(2, 3), keepdim=True)
    spread = highest - lowest
    masks = _zero_where(is_constant, maps - lowest) / spread.masked_fill(is_constant, 1)
    return F.interpolate(masks, size, mode="bilinear", align_corners=False)


def over_maximum_mask(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """(m − min) / max after bilinear upsampling with aligned corners, as in the authors' code.

    A `constant` map becomes zeros.
    """
    large = F.interpolate(maps, size, mode="bilinear", align_corners=True)
    lowest, highest = large.amin(dim=(2, 3), keepdim=True), large.amax(dim=(2, 3), keepdim=True)
    difference = _zero_where(constant(maps)[..., None, None], large - lowest)
    return difference / highest.where(highest != 0, torch.ones_like(highest))


def _zero_where(is_constant: Tensor, values: Tensor) -> Tensor:
    """The values, replaced by exact zeros where so told; the gradient is that of the values everywhere."""
    return torch.where(is_constant, values - values.detach(), values)


def _mean_sum(maps: Tensor) -> Tensor:
    """(R, 1, 1, 1) of the channels' sum; above 0."""
    return maps.sum(dim=1).mean(dim=(1, 2))[:, None, None, None].clamp(min=torch.finfo(maps.dtype).tiny)


def _weighted_sum(weights: Tensor, maps: Tensor) -> Tensor:
    rows, channels, height, width = maps.shape
    return (weights[:, None] @ maps.reshape(rows, channels, height * width)).view(rows, 1, height, width)


def _upsampled(maps: Tensor, size: torch.Size) -> Tensor:
    return maps if maps.shape[2:] == size else F.interpolate(maps, size, mode="bilinear", align_corners=False)
