"""Agreement of maps against torch's own correlation and sets of pixels."""

import pytest
import torch

from vitrine.metrics.functional.agreement import map_correlation, map_overlap


def test_correlation_and_overlap() -> None:
    one, other = torch.randn(2, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    one[1] *= 1e-30  # squares of tiny maps vanish
    correlation, overlap = map_correlation(one, other), map_overlap(one, other)
    for row in range(4):
        a, b = one[row].flatten().double(), other[row].flatten().double()
        assert float(correlation[row]) == pytest.approx(float(torch.corrcoef(torch.stack([a * 1e9, b]))[0, 1]))
        sets = [set((v > v.mean()).nonzero().flatten().tolist()) for v in (a, b)]
        assert float(overlap[row]) == pytest.approx(len(sets[0] & sets[1]) / len(sets[0] | sets[1]))


def test_degenerate_maps_agree_with_nothing() -> None:
    maps = torch.rand(3, 4, 4)
    flat = maps.clone()
    flat[0], flat[1, 0, 0] = 1.0, torch.nan
    assert map_correlation(maps, flat).isnan().tolist() == [True, True, False]
    assert map_overlap(flat, maps).isnan().tolist() == [True, True, False]
