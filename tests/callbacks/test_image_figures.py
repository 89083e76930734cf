"""What a test leaves for comparisons: rows of images, curves and examples, the same however many ranks measured them."""

import csv
import hashlib
import json
import tracemalloc
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from callbacks.image_figures import NUM_EXAMPLES, Rows, plain, write_rows
from callbacks.insertion_deletion import InsertionAndDeletion
from lightning_modules import AttributionModule
from tests.lightning_modules.test_attribution import FLOWER_NET, flowers, outcome
from vitrine.explainers.attribution import AttributionOptions


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, flower_shards: Path) -> Path:
    """Of a test of a method."""
    made = tmp_path_factory.mktemp("run")
    module = AttributionModule(FLOWER_NET, AttributionOptions("Saliency"), explain="top_k", top_k=2)
    outcome(made, flower_shards, module, others=[InsertionAndDeletion(steps=2)])
    return made


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "per_image.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_means_of_rows_are_the_figures(folder: Path) -> None:
    figures, rows = json.loads((folder / "metrics.json").read_text()), rows_of(folder)
    assert [(row["key"], int(row["target"])) for row in rows] == sorted(
        (row["key"], int(row["target"])) for row in rows
    )
    for name in ("iou", "energy_in_mask", "insertion_deletion/insertion_auc", "localization/error"):
        values = [float(row[name]) for row in rows if row[name]]
        assert sum(values) / len(values) == pytest.approx(figures[f"test/{name}"], rel=1e-5), name


def test_a_callback_measures_the_first_class_of_each_image(folder: Path) -> None:
    rows = rows_of(folder)
    measured = [row["key"] for row in rows if row["insertion_deletion/insertion_auc"]]
    assert sorted(measured) == sorted({row["key"] for row in rows})
    assert len(rows) == 2 * len(measured)


def test_what_was_tested_and_curves(folder: Path) -> None:
    found = json.loads((folder / "evaluation.json").read_text())
    assert (found["name"], found["explainer"], found["data"], found["explain"]) == (
        "Saliency", "AttributionExplainer", "FlowerDataModule", "top_k",
    )  # fmt: skip
    assert found["images"] == len({row["key"] for row in rows_of(folder)})
    assert len(found["curves"]["iou"]["x"]) == len(found["curves"]["iou"]["y"]) == 101
    assert found["settings"]["method"] == "Saliency"


def test_examples_are_the_images_of_lowest_hash(folder: Path, flower_shards: Path) -> None:
    data = flowers(flower_shards)
    data.setup("test")
    images = {
        key: image for batch in data.test_dataloader() for key, image in zip(batch["key"], batch["image"], strict=True)
    }
    lowest = sorted(images, key=lambda key: hashlib.sha256(key.encode()).hexdigest())[:NUM_EXAMPLES]
    with safe_open(folder / "examples.safetensors", "pt") as file:
        sample = json.loads(file.metadata()["sample"])
        pictures, maps = file.get_tensor("images"), file.get_tensor("maps")
    assert sample["keys"] == lowest
    plain_image = data.preprocessing.denormalize(images[lowest[0]][None])[0]
    assert (pictures[0].float() - 255 * plain_image).abs().max() <= 0.5
    assert maps.dtype == torch.float16
    assert maps.abs().amax(dim=(1, 2)).tolist() == [1.0] * len(lowest)


def test_rows_of_ranks_are_written_in_order_with_empty_cells(tmp_path: Path) -> None:
    first, second = Rows(), Rows()
    first.add({("b", 1): {"iou": 0.5}, ("a", 10): {"iou": 1 / 3}})
    first.add({("c", 0): {"iou": 1.0, "f": 2.0}, ("a", 9): {"f": float("nan")}})
    second.add({("b", 1): {"f": 4.0}})
    write_rows(tmp_path / "rows.csv", [first, Rows(), second])
    assert (tmp_path / "rows.csv").read_text().split() == [
        "key,target,f,iou", "a,9,,", "a,10,,0.333333333", "b,1,4,", "c,0,2,1",
    ]  # fmt: skip


def test_a_value_of_a_row_takes_eight_bytes() -> None:
    figures, batches, size = [f"figure {number}" for number in range(20)], 40, 50
    keys = [f"image {number}" for number in range(batches * size)]
    tracemalloc.start()
    rows = Rows()
    for start in range(0, len(keys), size):
        rows.add({(key, 3): dict.fromkeys(figures, float(start) + 0.5) for key in keys[start : start + size]})
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(rows) == 2000
    assert kept < 1.2 * len(rows) * 8 * (len(figures) + 2)  # arrays and the list of keys grow with some room


def test_json_has_no_nan() -> None:
    assert plain({"x": (1.0, float("nan")), "label": "nan"}) == {"x": [1.0, None], "label": "nan"}
