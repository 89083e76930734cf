"""Which layers the selected filters come from."""

import pytest
import torch

from vitrine.filters.layer_selection import LayerSelection, selection_by_layer
from vitrine.filters.layers import ResponseLayer

LAYERS = [
    ResponseLayer("conv", "conv", 1, 2, 0, spatial=True),
    ResponseLayer("pool", "pool", 3, 2, 2, spatial=True),
    ResponseLayer("fc", "linear", 4, 4, 4, spatial=False),
]


def test_picks_by_hand() -> None:
    weights = torch.zeros(8, 2)
    weights[0, 0], weights[0, 1], weights[5, 1], weights[7, 0] = 1.0, -2.0, 4.0, -1.0
    assert selection_by_layer(weights, LAYERS) == [
        LayerSelection("conv", "conv", 1, 2, filter_share=0.25, picks=2, pick_share=0.5, weight_share=3 / 8),
        LayerSelection("pool", "pool", 3, 2, filter_share=0.25, picks=0, pick_share=0.0, weight_share=0.0),
        LayerSelection("fc", "linear", 4, 4, filter_share=0.5, picks=2, pick_share=0.5, weight_share=5 / 8),
    ]


def test_shares_add_up() -> None:
    weights = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)).clamp(min=0)
    by_layer = selection_by_layer(weights, LAYERS)
    assert sum(layer.picks for layer in by_layer) == int((weights != 0).sum())
    for name in ("filter_share", "pick_share", "weight_share"):
        assert sum(getattr(layer, name) for layer in by_layer) == pytest.approx(1)


def test_nothing_selected() -> None:
    by_layer = selection_by_layer(torch.zeros(8, 3), LAYERS)
    assert [(layer.picks, layer.pick_share, layer.weight_share) for layer in by_layer] == [(0, 0.0, 0.0)] * 3
