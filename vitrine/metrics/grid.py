"""How much of a heatmap is the grid that strided operators leave in it."""

import torch
from torch import Tensor


def grid_share(maps: Tensor, stride: int, band: float = 0.05) -> Tensor:
    """Share of a map's spectral power at the multiples of 1/stride, its mean left out.

    A grid of period ``stride`` has all of its power there, white noise the share of the spectrum that the bands take, a
    smooth map next to nothing. Maps are tapered by a Hann window, so that their borders add nothing.

    Args:
        maps: (B, H, W).
        stride: period of the grid in pixels, 2 or more.
        band: half width of the bands around the multiples, in units of 1/stride.

    Returns:
        (B,) in [0, 1]; NaN for a constant map.

    Raises:
        ValueError: for a stride below 2.
    """
    power, cycles = _spectrum(maps, stride)
    on_grid = _either(*(_distance(c) <= band for c in cycles))
    share: Tensor = (power * on_grid).sum(dim=(1, 2)) / power.sum(dim=(1, 2))
    return share


def grid_contrast(maps: Tensor, stride: int, band: float = 0.05) -> Tensor:
    """Mean spectral power at the multiples of 1/stride over that just beside them (2 to 4 half widths away).

    About 1 where there is no grid, whatever the map has at these frequencies of its own; far above 1 where there is one.

    The arguments and errors are those of `grid_share`.

    Returns:
        (B,), at least 0; NaN for a constant map.
    """
    power, cycles = _spectrum(maps, stride)
    distances = [_distance(c) for c in cycles]
    on_grid = _either(*(d <= band for d in distances))
    beside = _either(*((d > 2 * band) & (d <= 4 * band) for d in distances)) & ~on_grid
    on, off = ((power * where).sum(dim=(1, 2)) / where.sum() for where in (on_grid, beside))
    contrast: Tensor = on / off
    return contrast


def _spectrum(maps: Tensor, stride: int) -> tuple[Tensor, list[Tensor]]:
    """(B, H, W) power, and the frequencies of its rows and columns in units of 1/stride."""
    if stride < 2:
        raise ValueError(f"stride is {stride}; a grid has a period of 2 pixels or more.")
    height, width = maps.shape[1:]
    centred = maps.double() - maps.double().mean(dim=(1, 2), keepdim=True)
    window = _hann(height, maps.device)[:, None] * _hann(width, maps.device)
    cycles = [torch.fft.fftfreq(n, dtype=torch.float64, device=maps.device).abs() * stride for n in (height, width)]
    return torch.fft.fft2(centred * window).abs().square(), cycles


def _hann(length: int, device: torch.device) -> Tensor:
    return torch.hann_window(length, dtype=torch.float64, device=device)


def _distance(cycles: Tensor) -> Tensor:
    """How far frequencies are from the nearest multiple of 1/stride other than 0; far for those nearer to 0."""
    return torch.where(cycles > 0.5, (cycles - cycles.round()).abs(), torch.inf)


def _either(rows: Tensor, columns: Tensor) -> Tensor:
    """(H, W) bool: where the row or the column is chosen."""
    return rows[:, None] | columns
