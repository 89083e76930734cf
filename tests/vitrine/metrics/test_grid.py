"""Checkerboards in heatmaps: grids, smooth maps and noise in closed form."""

import pytest
import torch
from torch import Tensor

from vitrine.metrics.grid import grid_contrast, grid_share


def grid_of(stride: int, size: int = 64) -> Tensor:
    grid = torch.zeros(1, size, size)
    grid[:, ::stride, ::stride] = 1
    return grid


@pytest.mark.parametrize("stride", [2, 4, 8])
def test_a_grid_has_all_its_power_at_its_own_stride(stride: int) -> None:
    assert grid_share(grid_of(stride), stride, band=0.2).item() == pytest.approx(1, abs=0.02)
    assert grid_contrast(grid_of(stride) + 1e-3 * torch.rand(1, 64, 64), stride, band=0.2).item() > 100


def test_a_grid_of_another_stride_is_told_apart() -> None:
    assert grid_share(grid_of(6, 96), 4, band=0.05) < 0.5 < grid_share(grid_of(6, 96), 6, band=0.2)


def test_a_smooth_map_has_none() -> None:
    rows = torch.linspace(-2, 2, 64)
    bump = (-(rows[:, None] ** 2) - rows**2).exp()[None]
    assert grid_share(bump, 4) < 1e-3


def test_white_noise_has_the_bands_share_of_the_spectrum() -> None:
    noise = torch.randn(200, 64, 64, generator=torch.Generator().manual_seed(0))
    cycles = torch.fft.fftfreq(64).abs() * 4
    on = ((cycles - cycles.round()).abs() <= 0.1) & (cycles > 0.5)
    expected = float((on[:, None] | on).float().mean())
    assert grid_share(noise, 4, band=0.1).mean().item() == pytest.approx(expected, rel=0.05)
    assert grid_contrast(noise, 4, band=0.1).mean().item() == pytest.approx(1, abs=0.1)


def test_scale_and_mean_do_not_matter() -> None:
    maps = torch.rand(2, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(grid_share(5 * maps - 3, 4), grid_share(maps, 4))


def test_a_constant_map_is_not_a_number() -> None:
    assert grid_share(torch.ones(1, 16, 16), 2).isnan().all()
    assert grid_contrast(torch.ones(1, 16, 16), 2).isnan().all()
    noise = 1 + 2e-7 * torch.rand(1, 16, 16)
    assert grid_share(noise, 2).isnan().all()
    assert grid_contrast(noise, 2).isnan().all()


@pytest.mark.parametrize("measure", [grid_share, grid_contrast])
@pytest.mark.parametrize("stride", [1, 0])
def test_a_stride_below_two_is_refused(measure: type, stride: int) -> None:
    with pytest.raises(ValueError, match=f"stride is {stride}"):
        measure(torch.rand(1, 8, 8), stride)
