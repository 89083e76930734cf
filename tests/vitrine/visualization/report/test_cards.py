"""Cards of the gallery: what is written of an entry, and its pictures."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.helpers.gallery_entries import entry, explanation
from vitrine.core.heatmap_texts import HeatmapTexts
from vitrine.visualization.report.cards import card
from vitrine.visualization.report.entry import GalleryEntry

NAMES = ["loon", "tern"]


def made(folder: Path, one: GalleryEntry, texts: HeatmapTexts = HeatmapTexts()) -> dict[str, Any]:  # noqa: B008
    (folder / "images").mkdir(exist_ok=True)
    return card(folder, "0001", one, NAMES, lambda _: texts, None)


def test_what_was_predicted_and_how_sure_it_is(tmp_path: Path) -> None:
    found = made(tmp_path, entry("a/1", label=1, prediction=0))
    chances = torch.tensor([2.0, 0, 0]).softmax(0)
    assert (found["key"], found["labels"], found["prediction"], found["right"]) == ("a/1", ["tern"], "loon", False)
    assert found["probability"] == pytest.approx(float(chances[0]), abs=1e-6)
    assert found["true"] == pytest.approx(float(chances[1]), abs=1e-6)
    assert "explained" not in found
    assert found["size"] == (14, 10)


def test_nothing_is_right_or_wrong_where_labels_are_unknown(tmp_path: Path) -> None:
    found = made(tmp_path, entry("k", label=None))
    assert found["labels"] == []
    assert not {"right", "true"} & found.keys()


def test_one_of_several_labels_is_enough(tmp_path: Path) -> None:
    found = made(tmp_path, replace(entry("k", prediction=1), labels=(0, 1)))
    assert found["right"]
    assert found["labels"] == ["loon", "tern"]


def test_several_methods_have_their_own_pictures(tmp_path: Path) -> None:
    methods = [("GradCAM", explanation(heatmaps=1)), ("SRAE", explanation(seed=1))]
    found = made(tmp_path, replace(entry("k"), explanation=methods))
    assert [group["method"] for group in found["groups"]] == ["GradCAM", "SRAE"]
    layers = [tile["layer"] for group in found["groups"] for tile in group["tiles"]]
    assert len(set(layers)) == 5
    assert all((tmp_path / layer).is_file() for layer in layers)


def test_metrics_originals_and_links(tmp_path: Path) -> None:
    photo, other = tmp_path / "photo.JPG", tmp_path / "scan.tif"
    for path in (photo, other):
        Image.new("RGB", (60, 40), "#336699").save(path)
    one = replace(entry("k"), metrics={"iou": 0.5, "x": math.nan}, overlay="over.png")
    found = made(tmp_path, replace(one, original=photo, region=(0.25, 0, 0.75, 1)))
    assert found["metrics"] == {"iou": 0.5, "x": None}
    assert found["links"] == {"overlay file": "over.png"}
    assert found["region"] == (0.25, 0, 0.75, 1)
    assert (tmp_path / found["original"]).read_bytes() == photo.read_bytes()
    converted = made(tmp_path, replace(one, original=other))
    assert "region" not in converted
    with Image.open(tmp_path / converted["original"]) as opened:
        assert (opened.format, opened.size) == ("WEBP", (60, 40))
    with pytest.raises(FileNotFoundError, match=r"none\.jpg"):
        made(tmp_path, replace(one, original=tmp_path / "none.jpg"))
