"""Layouts of feature maps, by the proportions of their sides."""

from typing import Any

import pytest
import torch

from vitrine.backbones.map_layouts import channels_first, channels_last, layout_of_map


@pytest.mark.parametrize(
    ("shape", "size", "layout"),
    [
        ((1, 512, 7, 7), (3, 224, 224), channels_first),
        ((1, 7, 7, 768), (3, 224, 224), channels_last),
        ((1, 7, 7, 7), (3, 224, 224), channels_first),
        ((1, 5, 7, 96), (3, 160, 224), channels_last),
        ((1, 96, 5, 8), (3, 160, 224), channels_first),  # padded
        ((1, 3, 197, 64), (3, 224, 224), None),
        ((1, 512, 7, 7), (3, 224, 448), None),
        ((1, 2048, 1, 1), (3, 64, 64), channels_first),
        ((1, 197, 192), (3, 224, 224), None),
    ],
)
def test_layouts_by_proportion(shape: tuple[int, ...], size: tuple[int, int, int], layout: Any) -> None:
    assert layout_of_map(torch.Size(shape), torch.Size(size)) is layout


def test_layouts_put_channels_first() -> None:
    maps = torch.rand(2, 3, 4, 5)
    assert channels_first(maps) is maps
    assert torch.equal(channels_last(maps.permute(0, 2, 3, 1)), maps)
