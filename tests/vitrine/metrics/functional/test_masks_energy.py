"""The share of a heatmap's energy inside a region."""

import pytest
import torch

from vitrine.metrics.functional import box_region, energy_inside


def test_share_of_the_positive_part() -> None:
    maps = torch.tensor([[[1.0, 3.0], [-5.0, 0.0]]])
    region = torch.tensor([[[1, 0], [1, 0]]])
    assert float(energy_inside(maps, region)) == pytest.approx(1 / 4)


@pytest.mark.parametrize("value", [0.0, -1.0, 2.0, torch.nan, torch.inf])
def test_degenerate_maps_are_never_a_hit(value: float) -> None:
    assert energy_inside(torch.full((1, 2, 2), value), torch.ones(1, 2, 2)).isnan().all()


def test_one_nan_makes_a_map_degenerate() -> None:
    maps = torch.tensor([[[1.0, torch.nan], [0.0, 0.0]]])
    assert energy_inside(maps, torch.ones(1, 2, 2)).isnan().all()


def test_boxes_are_half_open() -> None:
    region = box_region(torch.tensor([[1.0, 0.0, 3.0, 2.0]]), (3, 4))
    expected = torch.tensor([[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]], dtype=torch.bool)
    torch.testing.assert_close(region, expected)
    assert not box_region(torch.zeros(0, 4), (3, 4)).any()
