"""The an8Flower benchmark: folds by view, readings, and a small run from its command line."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks.an8flower import __main__ as benchmark
from benchmarks.an8flower.data import Flowers, folds, spread
from benchmarks.an8flower.methods import NAMES, Reading, area, best_reading, choices
from benchmarks.method_table import METHODS
from vitrine.data.an8flower.generate import generate
from vitrine.data.an8flower.settings import FlowerSettings


def flowers(count: int = 40, views: int = 10) -> Flowers:
    generator = torch.Generator().manual_seed(0)
    rows = torch.arange(count)
    masks = torch.zeros(count, 8, 8, dtype=torch.bool)
    masks[rows % 4 != 0, 2:5, 2:5] = True
    return Flowers(torch.randn(count, 3, 8, 8, generator=generator), rows % 2, masks, rows % views)


def test_no_view_stands_on_both_sides_and_each_is_tested_once() -> None:
    tested = []
    for fold in folds(flowers(), 5):
        train, test = set(fold.train.views.tolist()), set(fold.test.views.tolist())
        assert not train & test
        assert len(train | test) == 10
        tested += sorted(test)
    assert sorted(tested) == list(range(10))


def test_images_are_spread_over_classes_and_show_what_they_are_told_by() -> None:
    chosen = spread(flowers(), 5, seed=1)
    assert chosen.labels.bincount().tolist() == [5, 5]
    assert bool(chosen.masks.flatten(1).any(dim=1).all())
    assert torch.equal(chosen.views, spread(flowers(), 5, seed=1).views)


def test_a_reading_scales_blurs_and_raises() -> None:
    maps = torch.tensor([[[0.0, 1.0], [4.0, 2.0]]])
    assert torch.equal(Reading(0.0, 0.5)(maps), torch.tensor([[[0.0, 0.5], [1.0, 0.5**0.5]]]))
    assert torch.equal(Reading(0.0, 1.0)(3 - 2 * maps), 1 - maps / 4)


def test_the_best_reading_is_the_best() -> None:
    sparse = flowers().masks.float() * (torch.rand(40, 8, 8, generator=torch.Generator().manual_seed(2)) > 0.5)
    masks = flowers().masks
    height, reading = best_reading(sparse, masks)
    assert height == area(sparse, masks, reading) >= area(sparse, masks, Reading(0.0, 1.0))


def test_a_small_run(tmp_path: Path) -> None:
    settings = FlowerSettings("part-2c", views=8, size=48, crops=1, rotations=2, crop_size=40, supersampling=1)
    generate(settings, tmp_path / "data" / "part-2c", workers=1)
    out = tmp_path / "figures.json"
    kept = {"Grad-CAM", "Guided Grad-CAM"}
    options = ["--data", str(tmp_path / "data"), "--variants", "part-2c", "--networks", str(tmp_path / "networks")]
    sizes = ["--folds", "2", "--epochs", "1", "--size", "32", "--fit-images", "6", "--tune-images", "1"]
    skipped = ["--skip", *(name for name in NAMES if name not in kept), "--test-images", "2", "--device", "cpu"]
    benchmark.main([*options, *sizes, *skipped, "--out", str(out)])
    found = json.loads(out.read_text(encoding="utf-8"))["variants"]["part-2c"]
    assert len(found) == 2
    for fold in found:
        assert (
            set(fold["outcomes"])
            >= {"Ours", "Upsampled activation", "Deconv+GB", "SRAE", "Ours, above the usual"} | kept
        )
        assert all(0 <= outcome["area"] <= 100 for outcome in fold["outcomes"].values())
        ours, above = fold["outcomes"]["Ours"], fold["outcomes"]["Ours, above the usual"]
        assert above["tuned"] >= ours["tuned"]
    kept_networks = sorted(path.name for path in (tmp_path / "networks").iterdir())
    assert kept_networks == ["part-2c-0.safetensors", "part-2c-1.safetensors"]


def test_every_name_is_in_the_table_of_methods() -> None:
    assert set(NAMES.values()) <= set(METHODS)


@pytest.mark.parametrize("name", ["Grad-CAM", "Integrated gradients", "EBP"])
def test_a_method_with_a_layer_has_a_choice_for_each(name: str) -> None:
    count = len(list(choices(name, 0)))
    assert count == {"Grad-CAM": 6, "Integrated gradients": 2, "EBP": 1}[name]
