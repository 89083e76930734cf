"""Overlays: colours, strength, opacity, and maps that show nothing."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from vitrine.visualization import overlays
from vitrine.visualization.colour_map import colours
from vitrine.visualization.layers import heat_layer, positive_strength
from vitrine.visualization.overlays import overlay, picture


def photo(height: int = 40, width: int = 60, count: int = 1) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1))


def test_default_sigma_is_two_percent_of_the_longer_side() -> None:
    heatmap = torch.rand(50, 100)
    default, explicit = positive_strength(heatmap), positive_strength(heatmap, 2.0)
    assert default is not None
    assert explicit is not None
    assert torch.equal(default, explicit)


@pytest.mark.parametrize("scale", [1e-42, 1e-30, 1.0, 1e30])
def test_strength_is_the_positive_part_by_its_own_maximum(scale: float) -> None:
    heatmap = torch.tensor([[-5.0, 0.0], [1.0, 4.0]]) * scale
    strength = positive_strength(heatmap, 0)
    assert strength is not None
    assert torch.allclose(strength, torch.tensor([[0.0, 0.0], [0.25, 1.0]]), atol=2e-3)


def degenerate() -> dict[str, Tensor]:
    rest = torch.rand(40, 60)
    nan, inf = rest.clone(), rest.clone()
    nan[3, 4], inf[3, 4] = float("nan"), float("inf")
    return {
        "nan": nan,
        "inf": inf,
        "zero": torch.zeros(40, 60),
        "constant": torch.full((40, 60), 2.0),
        "negative": -rest - 0.1,
    }


@pytest.mark.parametrize("name", degenerate())
def test_degenerate_maps_show_the_plain_image_and_a_note(name: str) -> None:
    image = photo(40, 60)[0]
    drawn = np.asarray(overlay(image, degenerate()[name]))
    plain = np.asarray(picture(image))
    assert np.array_equal(drawn[:20], plain[:20])
    assert not np.array_equal(drawn[20:], plain[20:])
    assert heat_layer(degenerate()[name]) is None


def test_overlay_covers_where_the_map_is_strong_and_leaves_the_rest() -> None:
    image, heatmap = torch.full((3, 50, 50), 0.5), torch.zeros(50, 50)
    heatmap[10, 10] = 1
    drawn, plain = np.asarray(overlay(image, heatmap)).astype(int), np.asarray(picture(image)).astype(int)
    change = np.abs(drawn - plain).sum(axis=2)
    assert np.unravel_index(change.argmax(), change.shape) == (10, 10)
    assert not change[25:, 25:].any()


def test_opacity_of_nil_is_the_image() -> None:
    image = photo()[0]
    assert np.array_equal(np.asarray(overlay(image, torch.rand(40, 60), opacity=0)), np.asarray(picture(image)))


def test_full_opacity_at_the_maximum_is_the_colour_of_one() -> None:
    heatmap = torch.zeros(40, 60)
    heatmap[5, 6] = 1
    drawn = overlay(photo()[0], heatmap, opacity=1, sigma=0)
    assert drawn.getpixel((6, 5)) == tuple(colours(torch.ones(())).tolist())


def test_overlay_does_not_change_its_inputs() -> None:
    image, heatmap = photo()[0], torch.randn(40, 60)
    kept = image.clone(), heatmap.clone()
    overlay(image, heatmap)
    assert torch.equal(image, kept[0])
    assert torch.equal(heatmap, kept[1])


def test_overlay_takes_half_precision_and_gradients() -> None:
    heatmap = torch.rand(40, 60, requires_grad=True)
    assert overlay(photo()[0].bfloat16(), heatmap.half()).size == (60, 40)


def test_overlay_at_another_size() -> None:
    assert overlay(photo(40, 60)[0], torch.rand(40, 60), side=120).size == (120, 80)


def test_overlay_errors() -> None:
    with pytest.raises(ValueError, match="must have the same H and W"):
        overlay(photo()[0], torch.rand(4, 4))
    with pytest.raises(ValueError, match=r"opacity must be in \[0, 1\], got 1.5"):
        overlay(photo()[0], torch.rand(40, 60), opacity=1.5)
    with pytest.raises(ValueError, match=r"an image must be \(3, H, W\)"):
        picture(torch.rand(2, 4, 4))
    with pytest.raises(ValueError, match=r"a heatmap must be \(H, W\)"):
        positive_strength(torch.rand(1, 4, 4))


def test_a_picture_of_one_or_four_channels_shows_its_colours() -> None:
    image = torch.rand(4, 4, 4)
    assert picture(image).tobytes() == picture(image[:3]).tobytes()
    assert picture(image[:1]).tobytes() == picture(image[:1].repeat(3, 1, 1)).tobytes()


def test_picture_is_exact() -> None:
    values = torch.arange(256).repeat(3, 1).view(3, 16, 16)
    assert np.array_equal(np.asarray(picture(values / 255)), values.permute(1, 2, 0).byte().numpy())


def test_a_png_file_holds_the_picture_as_it_is(tmp_path: Path) -> None:
    drawn = overlays.picture(torch.rand(3, 20, 30))
    overlays.save_png(drawn, tmp_path / "picture.anything")
    with Image.open(tmp_path / "picture.anything") as read:
        assert read.format == "PNG"
        assert np.array_equal(np.asarray(read), np.asarray(drawn))
