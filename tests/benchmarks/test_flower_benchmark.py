"""The an8Flower benchmark: folds by view, readings, and a small run from its command line."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.an8flower import __main__ as benchmark
from benchmarks.an8flower.data import Flowers, folds, spread
from benchmarks.an8flower.methods import NAMES, choices, map_layers
from benchmarks.an8flower.network import ARCHITECTURES, augmented
from benchmarks.an8flower.readings import Reading, area, best_reading, figures
from benchmarks.an8flower.tables import FIGURES, lead, rows_of
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


def test_figures_of_images() -> None:
    masks = torch.zeros(3, 4, 4, dtype=torch.bool)
    masks[:, :2] = True
    maps = masks.float()
    maps[1] = 1 - maps[1]
    maps[2] = 0.5
    found = figures(maps, masks)
    assert found["pointing"] == [100, 0, 0]
    assert found["energy"] == [100, 0, 0]
    # At t = 0 the whole image is on, an IoU of a half; of the map beside the mask only that is left.
    assert found["area"] == pytest.approx([99.75, 0.25, 0])


def test_the_lead_is_of_the_same_images() -> None:
    other = torch.rand(50, generator=torch.Generator().manual_seed(3)) * 80
    first = [{"area": (other + 2).tolist()}, {"area": (other + 4).tolist()}]
    assert lead(first, [{"area": other.tolist()}] * 2) == pytest.approx((3, 3))


def test_rows_begin_with_the_highest_and_end_with_the_refused() -> None:
    low, high = ({name: [value] * 3 for name in FIGURES} for value in (10.0, 20.0))
    fold = {"outcomes": {"A": low, "B": high, "C": {"refused": "no attention"}}}
    assert rows_of([fold, fold]) == [
        ["B", "20.0 ± 0.0", "", "20.0 ± 0.0", "20.0 ± 0.0"],
        ["A", "10.0 ± 0.0", "10.0 … 10.0", "10.0 ± 0.0", "10.0 ± 0.0"],
        ["C", "refused", "", "", ""],
    ]


def test_augmented_images_are_shifted_and_mirrored() -> None:
    images = torch.zeros(200, 3, 20, 20)
    images[:, :, 10, 8] = 1
    found = augmented(images, torch.Generator().manual_seed(0), reach=3)
    assert found.shape == images.shape
    assert (found.flatten(1).sum(dim=1) == 3).all()
    rows, columns = found[:, 0].flatten(1).argmax(dim=1) // 20, found[:, 0].flatten(1).argmax(dim=1) % 20
    assert set(rows.tolist()) == set(range(7, 14))
    assert set(columns.tolist()) == {5, 6, 7, 8, 9, 10, 11, 12, 13, 14}


def test_a_small_run_is_gone_on_with(tmp_path: Path) -> None:
    settings = FlowerSettings("part-2c", views=8, size=48, crops=1, rotations=2, crop_size=40, supersampling=1)
    generate(settings, tmp_path / "data" / "part-2c", workers=1)
    folders = [f"--{name}={tmp_path / name}" for name in ("data", "networks", "results")]
    sizes = ["--folds=2", "--only-folds=1", "--epochs=1", "--size=32", "--fit-images=6", "--tune-images=2"]
    command = [*folders, *sizes, "--test-images=4", "--device=cpu", f"--out={tmp_path / 'figures.json'}"]
    command += ["--variants=part-2c", "--architecture=cnn", "--methods"]
    benchmark.main([*command, "Grad-CAM", "Attention rollout"])
    result = tmp_path / "results" / "cnn-part-2c-1.json"
    before = json.loads(result.read_text(encoding="utf-8"))["outcomes"]
    (found,) = benchmark.main([*command, "Grad-CAM", "Attention rollout", "SRAE", "μ-Lasso", "Inversion mask"])[
        "part-2c"
    ]["cnn"]
    outcomes = found["outcomes"]
    assert {name: outcomes[name] for name in before} == before
    assert "refused" in outcomes["Attention rollout"]
    for name in ("Grad-CAM", "SRAE", "μ-Lasso", "Inversion mask"):
        for figure in FIGURES:
            assert len(outcomes[name][figure]) == 4
            assert all(0 <= value <= 100 for value in outcomes[name][figure])
    assert [path.name for path in (tmp_path / "networks").iterdir()] == ["cnn-part-2c-1.safetensors"]
    assert (tmp_path / "results" / "cnn-part-2c-1.png").is_file()


def test_every_name_is_in_the_table_of_methods() -> None:
    assert set(NAMES.values()) <= set(METHODS)


@pytest.mark.parametrize(("name", "count"), [("Grad-CAM", 2), ("Integrated gradients", 2), ("EBP", 6), ("LRP", 10)])
def test_a_choice_for_each_layer_and_option(name: str, count: int) -> None:
    assert len(list(choices(name, nn.Identity(), ("a", "b"), 0))) == count


def test_a_network_of_each_architecture() -> None:
    for how in ARCHITECTURES.values():
        network = how.build(3, 80).eval()
        assert network(torch.rand(1, 3, 80, 80)).shape == (1, 3)
        assert all(
            dict(network.named_modules())[layer] is not network
            for layer in map_layers(network, torch.rand(1, 3, 80, 80))
        )
