"""Tiles of the gallery: scores, shares of the scale, and layers that are the heatmaps."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.gallery_entries import entry, explanation
from vitrine.core.heatmap_texts import HeatmapTexts
from vitrine.visualization.layers import signed_layer, strength_layer
from vitrine.visualization.report.cards import card
from vitrine.visualization.report.entry import GalleryEntry

NAMES = ["loon", "tern"]


def made(folder: Path, one: GalleryEntry, texts: HeatmapTexts = HeatmapTexts()) -> dict[str, Any]:  # noqa: B008
    (folder / "images").mkdir(exist_ok=True)
    return card(folder, "0001", one, NAMES, lambda _: texts, None)


def test_tiles_have_scores_and_their_share_of_the_scale(tmp_path: Path) -> None:
    (group,) = made(tmp_path, entry("k"))["groups"]
    assert [tile["label"] for tile in group["tiles"]] == ["x-feature 1", "x-feature 2", "x-feature 3", "all together"]
    assert [tile.get("share", 1) for tile in group["tiles"]] == pytest.approx([1, 0.2844, 0.0813, 1], abs=1e-4)
    assert group["tiles"][3]["score"] == pytest.approx(9.806, abs=1e-3)
    assert group["tiles"][3]["kind"] == "aggregate"
    (own,) = made(tmp_path, entry("k"), HeatmapTexts(comparable=False))["groups"]
    assert not any("share" in tile for tile in own["tiles"])
    (single,) = made(tmp_path, entry("k", heatmaps=1))["groups"]
    assert [tile["label"] for tile in single["tiles"]] == ["x-feature 1"]


def test_layers_are_the_heatmaps(tmp_path: Path) -> None:
    one = entry("k")
    made(tmp_path, one)
    heatmap = one.groups[0][1].heatmaps[0, 1]
    for texts, make in ((HeatmapTexts(), strength_layer), (HeatmapTexts(signed=True), signed_layer)):
        (group,) = made(tmp_path, one, texts)["groups"]
        assert group["tiles"][1].get("signed", False) == texts.signed
        with Image.open(tmp_path / group["tiles"][1]["layer"]) as found:
            expected, shown = np.asarray(make(heatmap)), np.asarray(found.convert("RGBA"))
            assert np.array_equal(shown[..., 3], expected[..., 3])
            assert np.array_equal(shown[shown[..., 3] > 0], expected[shown[..., 3] > 0])


def test_the_logit_comes_first_and_degenerate_maps_have_no_layer(tmp_path: Path) -> None:
    one = entry("k", heatmaps=1)
    shown = replace(one.groups[0][1], heatmaps=torch.full((1, 1, 10, 14), math.nan), scores=torch.tensor([[math.nan]]))
    (group,) = made(tmp_path, replace(one, explanation=shown, logit_map=("logit", torch.rand(10, 14))))["groups"]
    first, second = group["tiles"]
    assert (first["kind"], first["score"]) == ("logit", 2.0)
    assert second == {"label": "x-feature 1", "score": None}


def test_half_precision_maps_are_summed_in_full(tmp_path: Path) -> None:
    """300 × 300 ones add up to more than half precision can hold."""
    maps = torch.ones(1, 3, 300, 300)
    maps[0, :, :10] = 0
    shown = replace(explanation(), heatmaps=maps.half())
    (group,) = made(tmp_path, replace(entry("k"), image=torch.rand(3, 300, 300), explanation=shown))["groups"]
    assert "layer" in group["tiles"][3]
