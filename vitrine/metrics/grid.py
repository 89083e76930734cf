"""Checkerboard artefacts: the share of a heatmap's spectral power at the period of strided operators."""

from typing import Annotated

import torch
from torch import Tensor

from vitrine.core.image_ops import degenerate
from vitrine.core.options import NonNegative, Range, checked
from vitrine.metrics.functional.checks import checked_maps

GridStride = Annotated[int, Range(at_least=2)]


@checked
def grid_share(maps: Tensor, stride: GridStride, band: NonNegative = 0.05) -> Tensor:
    """Share of a map's spectral power at the multiples of 1/stride, without its mean.

    It is 1 for a grid of period ``stride``, the bands' share of the spectrum for white noise, and about 0 for a smooth map.
    Maps are tapered by a Hann window, so that their borders contribute nothing.

    Args:
        maps: (B, H, W).
        stride: period of the grid in pixels, 2 or more.
        band: half width of the bands around the multiples, in units of 1/stride.

    Returns:
        (B,) in [0, 1]; NaN for a degenerate map.

    Raises:
        OptionError: for a stride below 2.

    Example:
        >>> grid = torch.zeros(1, 32, 32)
        >>> grid[:, ::2, ::2] = 1
        >>> round(grid_share(grid, stride=2, band=0.15).item(), 2)
        1.0
    """
    power, cycles = _spectrum(maps, stride)
    on_grid = _row_or_column(*(_distance(c) <= band for c in cycles))
    share: Tensor = (power * on_grid).sum(dim=(1, 2)) / power.sum(dim=(1, 2))
    return share.masked_fill(degenerate(maps), torch.nan)


@checked
def grid_contrast(maps: Tensor, stride: GridStride, band: NonNegative = 0.05) -> Tensor:
    """Mean spectral power at the multiples of 1/stride over the mean just beside them (2 to 4 half widths away).

    It is about 1 where there is no grid, whatever else the map has at these frequencies, and far above 1 where there is one.

    The arguments and errors are those of `grid_share`.

    Returns:
        (B,), 0 or more; NaN for a degenerate map.

    Example:
        >>> grid = torch.zeros(1, 32, 32)
        >>> grid[:, ::2, ::2] = 1
        >>> grid_contrast(grid + 0.1 * torch.rand(1, 32, 32), stride=2, band=0.1).item() > 100
        True
    """
    power, cycles = _spectrum(maps, stride)
    distances = [_distance(c) for c in cycles]
    on_grid = _row_or_column(*(d <= band for d in distances))
    beside = _row_or_column(*((d > 2 * band) & (d <= 4 * band) for d in distances)) & ~on_grid
    on, off = ((power * region).sum(dim=(1, 2)) / region.sum() for region in (on_grid, beside))
    contrast: Tensor = on / off
    return contrast.masked_fill(degenerate(maps), torch.nan)


def _spectrum(maps: Tensor, stride: int) -> tuple[Tensor, list[Tensor]]:
    """(B, H, W) power, and the frequencies (H,) of its rows and (W,) of its columns in units of 1/stride."""
    height, width = checked_maps(maps).shape[1:]
    centred = maps.double() - maps.double().mean(dim=(1, 2), keepdim=True)
    window = _hann(height, maps.device)[:, None] * _hann(width, maps.device)
    cycles = [torch.fft.fftfreq(n, dtype=torch.float64, device=maps.device).abs() * stride for n in (height, width)]
    return torch.fft.fft2(centred * window).abs().square(), cycles


def _hann(length: int, device: torch.device) -> Tensor:
    return torch.hann_window(length, dtype=torch.float64, device=device)


def _distance(cycles: Tensor) -> Tensor:
    """Distance of frequencies to the nearest multiple of 1/stride other than 0; infinite for those nearer to 0."""
    return torch.where(cycles > 0.5, (cycles - cycles.round()).abs(), torch.inf)


def _row_or_column(rows: Tensor, columns: Tensor) -> Tensor:
    """(H, W) bool: where the (H,) row or the (W,) column is True."""
    return rows[:, None] | columns
