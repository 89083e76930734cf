"""Sparseness and complexity of maps: closed forms, and independence of scale, sign and place."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from vitrine.metrics.functional.complexity import complexity, sparseness


def test_one_pixel_and_all_pixels() -> None:
    one = torch.zeros(1, 6, 5)
    one[0, 2, 3] = -4
    assert float(sparseness(one)) == pytest.approx(1 - 1 / 30)
    assert float(complexity(one)) == pytest.approx(0, abs=1e-12)
    every = torch.full((1, 6, 5), 0.3)
    assert float(sparseness(every)) == pytest.approx(0, abs=1e-12)
    assert float(complexity(every)) == pytest.approx(math.log(30))


@pytest.mark.parametrize("k", [1, 7, 29])
def test_k_equal_pixels_of_n(k: int) -> None:
    maps = torch.zeros(30)
    maps[torch.randperm(30)[:k]] = 2.5
    assert float(sparseness(maps.view(1, 6, 5))) == pytest.approx(1 - k / 30)
    assert float(complexity(maps.view(1, 6, 5))) == pytest.approx(math.log(k), abs=1e-12)


def test_a_naive_gini_index() -> None:
    values = torch.rand(12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    differences = (values[:, None] - values).abs().sum()
    assert float(sparseness(values.view(1, 3, 4))) == pytest.approx(float(differences / (2 * 12 * values.sum())))


@pytest.mark.parametrize("measure", [sparseness, complexity])
def test_scale_sign_and_place_do_not_count(measure: Callable[[Tensor], Tensor]) -> None:
    maps = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0))
    for other in (maps * 1e30, -maps, maps.abs(), maps.flip(1), maps * 1e-30):
        torch.testing.assert_close(measure(other), measure(maps))
    assert measure(maps.bfloat16()).dtype == torch.float64


@pytest.mark.parametrize("measure", [sparseness, complexity])
@pytest.mark.parametrize("value", [0.0, math.nan, math.inf])
def test_maps_without_shares_have_no_value(measure: Callable[[Tensor], Tensor], value: float) -> None:
    assert measure(torch.full((1, 4, 5), value)).isnan().all()
    if value:
        assert measure(torch.rand(1, 4, 5).index_put((torch.tensor(0),) * 3, torch.tensor(value))).isnan().all()
