import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from vitrine.core.explanation import Explanation, class_name
from vitrine.visualization.grid import WIDEST_TITLE, captioned_grid
from vitrine.visualization.overlays import colours, heat_layer, overlay, picture, positive_strength
from vitrine.visualization.panel import layer_colour, panel


def photo(height: int = 40, width: int = 60, count: int = 1) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1))


def explanation(count: int, heatmaps: int, height: int = 40, width: int = 60) -> Explanation:
    generator = torch.Generator().manual_seed(2)
    prediction = torch.arange(count) % 3
    return Explanation(
        heatmaps=torch.rand(count, heatmaps, height, width, generator=generator),
        scores=torch.randn(count, heatmaps, generator=generator),
        labels=[[f"layer {b} filter {k}" for k in range(heatmaps)] for b in range(count)],
        prediction=prediction,
        target=prediction,
        logits=torch.randn(count, 4, generator=generator),
    )


def lab_lightness(colour: np.ndarray) -> np.ndarray:
    """CIE L*, by its definition: an outside measure of what the OKLab ramp promises."""
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    return 116 * np.cbrt(luminance) - 16


def test_colours_grow_evenly_in_lightness() -> None:
    steps = np.diff(lab_lightness(colours(torch.linspace(0, 1, 21)) / 255))
    assert steps.min() > 0
    assert steps.max() < 2 * steps.mean()


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
        picture(torch.rand(1, 4, 4))
    with pytest.raises(ValueError, match=r"a heatmap must be \(H, W\)"):
        positive_strength(torch.rand(1, 4, 4))


def test_picture_is_exact() -> None:
    values = torch.arange(256).repeat(3, 1).view(3, 16, 16)
    assert np.array_equal(np.asarray(picture(values / 255)), values.permute(1, 2, 0).byte().numpy())


@pytest.mark.parametrize(("count", "heatmaps"), [(1, 1), (3, 5), (32, 10)])
def test_panel_has_a_row_an_image_and_a_column_a_heatmap(count: int, heatmaps: int) -> None:
    size = (8, 12)
    drawn = panel(photo(*size, count), explanation(count, heatmaps, *size), ["a", "b", "c"], cell=30)
    assert drawn.size == ((1 + heatmaps) * 40 + 10, count * (20 + 40 + 10) + 10)


def tiles(drawn: Image.Image, row: int, columns: int) -> list[np.ndarray]:
    """The 60 × 40 pictures of a row of a panel of cells of 60 pixels."""
    bottom = (row + 1) * (40 + 40 + 10)
    return [np.asarray(drawn.crop((10 + c * 70, bottom - 40, 70 + c * 70, bottom))) for c in range(columns)]


def test_panel_shows_image_and_overlays_in_order() -> None:
    images, shown = photo(count=2), explanation(2, 3)
    drawn = panel(images, shown, ["a", "b", "c"], cell=60)
    for row in range(2):
        expected = [picture(images[row]), *(overlay(images[row], heatmap) for heatmap in shown.heatmaps[row])]
        assert all(
            np.array_equal(found, np.asarray(e)) for found, e in zip(tiles(drawn, row, 4), expected, strict=True)
        )


def test_panel_sorts_by_score_and_keeps_the_strongest() -> None:
    images, shown = photo(count=2), explanation(2, 5)
    drawn = panel(images, shown, ["a", "b", "c"], cell=60, heatmaps=2, by_score=True)
    assert drawn.width == 3 * 70 + 10
    for row in range(2):
        best = shown.scores[row].topk(2).indices
        expected = [np.asarray(overlay(images[row], shown.heatmaps[row, index])) for index in best]
        assert all(np.array_equal(found, e) for found, e in zip(tiles(drawn, row, 3)[1:], expected, strict=True))


def test_panel_has_a_line_more_where_another_class_is_explained() -> None:
    shown = explanation(1, 1)
    other = Explanation(**{**vars(shown), "target": shown.prediction + 1})
    names = ["a", "b", "c"]
    assert panel(photo(), other, names).height == panel(photo(), shown, names).height + 18


def test_panel_text_outside_the_built_in_font_is_replaced() -> None:
    shown = explanation(1, 1)
    strange = Explanation(**{**vars(shown), "labels": [["μ 鳥 café"]]})
    plain = Explanation(**{**vars(shown), "labels": [["? ? cafe"]]})
    assert panel(photo(), strange, ["a"]).tobytes() == panel(photo(), plain, ["a"]).tobytes()


def test_panel_cuts_long_names_to_the_cell() -> None:
    shown = explanation(1, 1)
    long = Explanation(**{**vars(shown), "labels": [["features.28 " + "x" * 300]]})
    drawn = np.asarray(panel(photo(), long, ["a"], cell=100).convert("L"))
    assert (drawn[:, -10:] == 255).all()


@pytest.mark.parametrize(
    ("kind", "colour"),
    [
        ("conv", "#1a7f37"),
        ("pool", "#1a7f37"),
        ("norm", "#1a7f37"),
        ("linear", "#d0307f"),
        ("activation", None),
        ("", None),
    ],
)
def test_layers_are_told_apart_by_colour(kind: str, colour: str | None) -> None:
    shown = explanation(2, 3)
    assert layer_colour(shown, 0, 0) is None
    kinds = [["other"] * 3, ["other", kind, "other"]]
    assert layer_colour(Explanation(**{**vars(shown), "kinds": kinds}), 1, 1) == colour


def inks(drawn: Image.Image, column: int) -> list[set[tuple[int, ...]]]:
    """Colours of the two caption lines above a tile of the one row of a panel of cells of 160 pixels."""
    left, height = 10 + column * 170, drawn.height - 10 - 107
    lines = [np.asarray(drawn.crop((left, top, left + 160, top + 16))) for top in (height - 38, height - 20)]
    return [{tuple(pixel) for pixel in line.reshape(-1, 3).tolist()} for line in lines]


def test_a_panels_captions_have_the_colours_of_their_layers() -> None:
    plain = Explanation(**{**vars(explanation(1, 4)), "labels": [["MMM ### MMM"] * 4]})
    shown = Explanation(**{**vars(plain), "kinds": [["conv", "linear", "activation", ""]]})
    drawn, names = panel(photo(), shown, ["a"]), ["#1a7f37", "#d0307f", "#111111", "#111111"]
    for column, name in enumerate(names, start=1):
        first, second = inks(drawn, column)
        colour = tuple(int(name[place : place + 2], 16) for place in (1, 3, 5))
        assert colour in first
        assert first.isdisjoint({tuple(int(n[p : p + 2], 16) for p in (1, 3, 5)) for n in set(names) - {name}})
        assert colour not in second
    without = panel(photo(), plain, ["a"])
    assert all((0x11, 0x11, 0x11) in inks(without, column)[0] for column in range(1, 5))


def test_a_title_is_readable_above_a_single_small_picture() -> None:
    tile = ("+1.0", Image.new("RGB", (40, 40)))
    plain = captioned_grid([[tile]])
    short, long, longest = (captioned_grid([[tile]], "n" * count) for count in (1, 30, 500))
    assert short.width == plain.width < long.width < longest.width == WIDEST_TITLE
    ink = np.asarray(long)[: long.height - plain.height].min(axis=(0, 2)) < 128
    assert ink[plain.width :].any()
    assert np.array_equal(np.asarray(long)[-plain.height :, : plain.width], np.asarray(plain))


def test_panel_errors() -> None:
    with pytest.raises(ValueError, match="as many images as explanations, got 1 and 2"):
        panel(photo(count=1), explanation(2, 1), ["a"])
    with pytest.raises(ValueError, match="got 0 and 0"):
        panel(photo(count=0), explanation(0, 1), ["a"])


def test_class_name_beyond_the_names() -> None:
    assert class_name(["a"], 0) == "a"
    assert class_name(["a"], 7) == "class 7"
