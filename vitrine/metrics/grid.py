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
    if stride < 2:
        raise ValueError(f"stride is {stride}; a grid has a period of 2 pixels or more.")
    height, width = maps.shape[1:]
    centred = maps.double() - maps.double().mean(dim=(1, 2), keepdim=True)
    window = _hann(height, maps.device)[:, None] * _hann(width, maps.device)
    power = torch.fft.fft2(centred * window).abs().square()
    on_grid = _near_multiple(height, stride, band)[:, None] | _near_multiple(width, stride, band)
    share: Tensor = (power * on_grid.to(maps.device)).sum(dim=(1, 2)) / power.sum(dim=(1, 2))
    return share


def _hann(length: int, device: torch.device) -> Tensor:
    return torch.hann_window(length, dtype=torch.float64, device=device)


def _near_multiple(length: int, stride: int, band: float) -> Tensor:
    """(length,) bool: whether a frequency of the discrete transform is near a multiple of 1/stride other than 0."""
    cycles = torch.fft.fftfreq(length, dtype=torch.float64).abs() * stride
    near: Tensor = ((cycles - cycles.round()).abs() <= band) & (cycles.round() >= 1)
    return near
