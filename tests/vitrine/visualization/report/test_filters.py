"""SVG filters of pages: in a browser, layers get the colours that pictures have."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.pages import opened
from vitrine.visualization.colour_map import NEGATIVE, POSITIVE, colours
from vitrine.visualization.layers import signed_layer, strength_layer
from vitrine.visualization.report.filters import bar, filters

RAMP = torch.linspace(-1, 1, 201).expand(20, 201)


@pytest.fixture(scope="module")
def shown(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("filters")
    for name, layer in (("plain", strength_layer(RAMP, sigma=0)), ("signed", signed_layer(RAMP, sigma=0))):
        assert layer is not None
        layer.save(folder / f"{name}.webp", lossless=True)
    drawings = [("plain", "url(#heat)"), ("plain", "opacity(.25) url(#heat)"), ("signed", "url(#signed)")]
    drawings += [("plain", "url(#contour)"), ("plain", "url(#mask)")]
    images = "".join(f'<img src="{name}.webp" style="display:block;filter:{how}">' for name, how in drawings)
    path = folder / "page.html"
    path.write_text(
        f'<body style="margin:0;background:#fff">{filters()}<div style="width:201px">{images}</div>', "utf-8"
    )
    page = opened(browser, path)
    with Image.open(io.BytesIO(page.screenshot(clip={"x": 0, "y": 0, "width": 201, "height": 100}))) as drawn:
        rows = np.asarray(drawn.convert("RGB")).astype(float)
    page.close()
    return [rows[10 + 20 * place] for place in range(len(drawings))]


def over_white(colour: Any, strength: float) -> np.ndarray:
    alpha = strength**0.75
    return alpha * np.asarray(colour, dtype=float) + 255 * (1 - alpha)


@pytest.mark.parametrize("strength", [0.1, 0.5, 0.9, 1.0])
def test_colours_are_those_of_pictures(shown: Any, strength: float) -> None:
    at = round(100 + 100 * strength)
    whole, quarter = over_white(colours(torch.tensor(strength)), strength), strength / 4
    assert np.abs(shown[0][at] - whole).max() <= 4
    assert np.abs(shown[1][at] - over_white(colours(torch.tensor(quarter)), quarter)).max() <= 6
    assert np.abs(shown[2][at] - over_white(POSITIVE, strength)).max() <= 4
    assert np.abs(shown[2][200 - at] - over_white(NEGATIVE, strength)).max() <= 4


def test_nothing_is_drawn_where_there_is_no_evidence(shown: Any) -> None:
    assert all((row[20:90] == 255).all() for row in (shown[0], shown[1], shown[3]))


def test_contours_and_masks(shown: Any) -> None:
    lines = (shown[3] < 250).any(axis=1).nonzero()[0]
    assert len(lines) >= 3
    assert np.abs(lines[:, None] - np.array([125, 150, 175])).min(axis=1).max() <= 2
    assert shown[4][50].max() < 40
    assert shown[4][200].min() > 250


def test_bars_begin_and_end_with_the_scale() -> None:
    assert bar(signed=False).count("rgb(") == 17
    assert f"rgb({' '.join(map(str, NEGATIVE))} / 1.0)" in bar(signed=True)
    assert bar(signed=True).rstrip(")").endswith("/ 1.0")
