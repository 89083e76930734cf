"""Panels: rows, columns, captions, and the colours of layers."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from vitrine.core.explanation import Explanation, class_name
from vitrine.core.heatmap_texts import HeatmapTexts
from vitrine.visualization.legend import HEIGHT
from vitrine.visualization.overlays import overlay, picture
from vitrine.visualization.panel import layer_colour, panel
from vitrine.visualization.scale import shares


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


@pytest.mark.parametrize(("count", "heatmaps"), [(1, 1), (3, 5), (32, 10)])
def test_panel_has_a_row_an_image_and_a_column_a_heatmap(count: int, heatmaps: int) -> None:
    size = (8, 12)
    drawn = panel(photo(*size, count), explanation(count, heatmaps, *size), ["a", "b", "c"], cell=30)
    assert drawn.size == ((1 + heatmaps) * 40 + 10, count * (20 + 40 + 10) + 10 + HEIGHT)


def tiles(drawn: Image.Image, row: int, columns: int) -> list[np.ndarray]:
    """The 60 × 40 pictures of a row of a panel of cells of 60 pixels."""
    bottom = (row + 1) * (40 + 40 + 10)
    return [np.asarray(drawn.crop((10 + c * 70, bottom - 40, 70 + c * 70, bottom))) for c in range(columns)]


def test_panel_shows_image_and_overlays_in_order() -> None:
    images, shown = photo(count=2), explanation(2, 3)
    drawn = panel(images, shown, ["a", "b", "c"], cell=60)
    for row in range(2):
        maps = zip(shown.heatmaps[row], shares(shown.scores[row].tolist()), strict=True)
        expected = [picture(images[row]), *(overlay(images[row], heatmap, share=share) for heatmap, share in maps)]
        assert all(
            np.array_equal(found, np.asarray(e)) for found, e in zip(tiles(drawn, row, 4), expected, strict=True)
        )


def test_panel_sorts_by_score_and_keeps_the_strongest() -> None:
    images, shown = photo(count=2), explanation(2, 5)
    drawn = panel(images, shown, ["a", "b", "c"], cell=60, heatmaps=2, by_score=True)
    assert drawn.width == 3 * 70 + 10
    for row in range(2):
        best = shown.scores[row].topk(2).indices
        of_map = shares(shown.scores[row].tolist())
        maps = [(shown.heatmaps[row, index], of_map[index]) for index in best]
        expected = [np.asarray(overlay(images[row], heatmap, share=share)) for heatmap, share in maps]
        assert all(np.array_equal(found, e) for found, e in zip(tiles(drawn, row, 3)[1:], expected, strict=True))


def test_panel_has_a_line_more_where_another_class_is_explained() -> None:
    shown = explanation(1, 1)
    other = Explanation(**{**vars(shown), "target": shown.prediction + 1})
    names = ["a", "b", "c"]
    assert panel(photo(), other, names).height == panel(photo(), shown, names).height + 18


def test_each_heatmap_may_have_its_own_scale() -> None:
    images, shown = photo(), explanation(1, 2)
    drawn = panel(images, shown, ["a"], cell=60, scale="own")
    expected = [np.asarray(overlay(images[0], heatmap)) for heatmap in shown.heatmaps[0]]
    assert all(np.array_equal(found, e) for found, e in zip(tiles(drawn, 0, 3)[1:], expected, strict=True))
    alone = panel(images, shown, ["a"], cell=60, texts=HeatmapTexts(comparable=False, percent=True))
    assert all(np.array_equal(found, e) for found, e in zip(tiles(alone, 0, 3)[1:], expected, strict=True))


def test_views_and_signs_reach_the_heatmaps() -> None:
    images, shown = photo(), explanation(1, 1)
    for view in ("contour", "mask"):
        drawn = panel(images, shown, ["a"], cell=60, view=view, texts=HeatmapTexts(signed=True))
        expected = overlay(images[0], shown.heatmaps[0, 0], view=view, signed=True)
        assert np.array_equal(tiles(drawn, 0, 2)[1], np.asarray(expected))


def test_panel_cuts_long_names_to_the_cell() -> None:
    shown = explanation(1, 1)
    long = Explanation(**{**vars(shown), "labels": [["features.28 " + "x" * 300]]})
    drawn = np.asarray(panel(photo(), long, ["a"], cell=100).convert("L"))
    assert (drawn[:-HEIGHT, -10:] == 255).all()


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
    left, height = 10 + column * 170, drawn.height - 10 - 107 - HEIGHT
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


def test_panel_errors() -> None:
    with pytest.raises(ValueError, match="as many images as explanations, got 1 and 2"):
        panel(photo(count=1), explanation(2, 1), ["a"])
    with pytest.raises(ValueError, match="got 0 and 0"):
        panel(photo(count=0), explanation(0, 1), ["a"])


def test_class_name_beyond_the_names() -> None:
    assert class_name(["a"], 0) == "a"
    assert class_name(["a"], 7) == "class 7"
