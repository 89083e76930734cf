"""Which layers the selected filters come from."""

import pytest
import torch

from vitrine.filters.layers import ResponseLayer
from vitrine.filters.picks import LayerPicks, share_of_picks

LAYERS = [
    ResponseLayer("conv", "conv", 1, 2, 0, spatial=True),
    ResponseLayer("pool", "pool", 3, 2, 2, spatial=True),
    ResponseLayer("fc", "linear", 4, 4, 4, spatial=False),
]


def test_picks_by_hand() -> None:
    weights = torch.zeros(8, 2)
    weights[0, 0], weights[0, 1], weights[5, 1], weights[7, 0] = 1.0, -2.0, 4.0, -1.0
    assert share_of_picks(weights, LAYERS) == [
        LayerPicks("conv", "conv", 1, 2, filter_share=0.25, picks=2, pick_share=0.5, weight_share=3 / 8),
        LayerPicks("pool", "pool", 3, 2, filter_share=0.25, picks=0, pick_share=0.0, weight_share=0.0),
        LayerPicks("fc", "linear", 4, 4, filter_share=0.5, picks=2, pick_share=0.5, weight_share=5 / 8),
    ]


def test_shares_add_up() -> None:
    weights = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)).clamp(min=0)
    rows = share_of_picks(weights, LAYERS)
    assert sum(row.picks for row in rows) == int((weights != 0).sum())
    for name in ("filter_share", "pick_share", "weight_share"):
        assert sum(getattr(row, name) for row in rows) == pytest.approx(1)


def test_nothing_selected() -> None:
    rows = share_of_picks(torch.zeros(8, 3), LAYERS)
    assert [(row.picks, row.pick_share, row.weight_share) for row in rows] == [(0, 0.0, 0.0)] * 3
