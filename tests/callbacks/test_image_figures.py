"""What a test leaves for comparisons: rows of images, curves and examples, the same however many ranks measured them."""

import csv
import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from callbacks.image_figures import NUM_EXAMPLES, plain
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


def test_json_has_no_nan() -> None:
    assert plain({"x": (1.0, float("nan")), "label": "nan"}) == {"x": [1.0, None], "label": "nan"}
