"""Layers of heatmaps: their scale, signs, contours and masks."""

import numpy as np
import pytest
import torch
from torch import Tensor

from vitrine.visualization.colour_map import NEGATIVE, POSITIVE, colours
from vitrine.visualization.layers import LEVELS, heat_layer, signed_layer, signed_strength, strength_layer


def ramp() -> Tensor:
    return torch.linspace(0, 1, 41).expand(20, 41).clone()


def rgba(layer: object) -> np.ndarray:
    assert layer is not None
    return np.asarray(layer).astype(int)


def test_a_share_lowers_colour_and_opacity() -> None:
    whole, quarter = rgba(heat_layer(ramp(), sigma=0)), rgba(heat_layer(ramp(), sigma=0, share=0.25))
    assert whole[0, -1].tolist() == [*colours(torch.tensor(1.0)).tolist(), 255]
    assert quarter[0, -1].tolist() == [*colours(torch.tensor(0.25)).tolist(), round(255 * 0.25**0.75)]
    assert not rgba(heat_layer(ramp(), share=0.0))[..., 3].any()


def test_signs_have_their_colours() -> None:
    drawn = rgba(heat_layer(ramp() - 0.25, sigma=0, signed=True))
    assert drawn[0, 0, :3].tolist() == list(NEGATIVE)
    assert drawn[0, -1, :3].tolist() == list(POSITIVE)
    assert drawn[0, -1, 3] == 255
    assert 0 < drawn[0, 0, 3] < 255
    assert heat_layer(-ramp(), sigma=0) is None
    assert heat_layer(-ramp(), sigma=0, signed=True) is not None


def test_contours_lie_at_the_levels() -> None:
    drawn = rgba(heat_layer(ramp(), sigma=0, view="contour"))
    places = drawn[10, :, 3].nonzero()[0]
    assert places.tolist() == [round(level * 40) - 1 for level in LEVELS]
    assert [drawn[10, place, :3].tolist() for place in places] == [colours(torch.tensor(v)).tolist() for v in LEVELS]


def test_a_mask_darkens_where_there_is_no_evidence() -> None:
    drawn = rgba(heat_layer(ramp(), sigma=0, view="mask"))
    assert not drawn[..., :3].any()
    assert drawn[0, 0, 3] > 200
    assert drawn[0, -1, 3] == 0


def test_plain_layers_keep_strengths_as_opacity() -> None:
    expected = (255 * ramp()).round().int().numpy()
    assert np.array_equal(rgba(strength_layer(ramp(), sigma=0))[..., 3], expected)
    assert np.array_equal(rgba(signed_layer(-ramp(), sigma=0))[..., 3], expected)
    assert strength_layer(-ramp()) is None


def test_signed_strengths_are_over_the_largest_size() -> None:
    found = signed_strength(torch.tensor([[-4.0, 0.0], [1.0, 2.0]]) * 1e-30, 0)
    assert found is not None
    assert torch.allclose(found, torch.tensor([[-1.0, 0.0], [0.25, 0.5]]))
    with pytest.raises(ValueError, match=r"a heatmap must be \(H, W\)"):
        signed_strength(torch.rand(1, 4, 4))
