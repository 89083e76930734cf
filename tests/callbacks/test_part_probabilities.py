"""Parts of x-features: the table's numbers against the functions they come from, and the pictures beside them."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from callbacks.candidates import place_of
from callbacks.part_probabilities import PartExample, PartProbabilities, colour_of, probabilities, regions_picture
from tests.helpers import explaining_fakes as fakes

PARTS = torch.tensor([[2.0, 3.0, 1.0], [9.0, 8.0, 1.0], [0.0, 0.0, 0.0]])  # the third cannot be seen
BOX = torch.tensor([1.0, 1.0, 11.0, 11.0])


class Birds(fakes.FakeData):
    def sample(self, n: int) -> dict[str, Any]:
        return super().sample(n) | {"parts": PARTS, "boxes": BOX[None]}


def example() -> PartExample:
    """One x-feature on the first part's pixel, one outside the box, one half on the second part."""
    maps = torch.zeros(3, 12, 12)
    maps[0, 3, 2] = 5
    maps[1, 0, 0] = 1
    maps[2, 8, 9] = maps[2, 0, 11] = 2
    return PartExample("bird", torch.rand(3, 12, 12), PARTS, BOX, ["a", "b", "c"], [1.0, -0.5, 2.0], maps)


def test_shares_at_pixels_and_over_regions() -> None:
    rows = [dict(row) for row in probabilities(example(), ["beak", "tail", "eye"])]
    kept = [{name: value for name, value in row.items() if name not in {"key", "score"}} for row in rows]
    assert kept == [
        {"x-feature": "a", "kind": "pixel", "beak": "1", "tail": "0"},
        {"x-feature": "a", "kind": "voronoi", "beak": "1", "tail": "0", "context": "0"},
        {"x-feature": "b", "kind": "pixel", "beak": "0", "tail": "0"},
        {"x-feature": "b", "kind": "voronoi", "beak": "0", "tail": "0", "context": "1"},
        {"x-feature": "c", "kind": "pixel", "beak": "0", "tail": "0.5"},
        {"x-feature": "c", "kind": "voronoi", "beak": "0", "tail": "0.5", "context": "0.5"},
    ]
    assert [row["score"] for row in rows[::2]] == ["1", "-0.5", "2"]


def test_regions_have_the_colours_of_their_parts() -> None:
    drawn = regions_picture(example())
    assert drawn.getpixel((2, 3)) == colour_of(0)
    assert drawn.getpixel((9, 8)) == colour_of(1)
    assert drawn.getpixel((0, 0)) == (200, 200, 200)
    assert len({colour_of(number) for number in range(15)}) == 15


def test_a_test_run_writes_both_files(tmp_path: Path) -> None:
    data = Birds()
    fakes.trainer(tmp_path, PartProbabilities(num_images=2)).test(fakes.module(), datamodule=data, verbose=False)
    with (tmp_path / "parts/probabilities.csv").open() as file:
        rows = list(csv.DictReader(file))
    keys = sorted((data.sample(n)["key"] for n in range(fakes.IMAGES)), key=place_of)[:2]
    assert list(dict.fromkeys(row["key"] for row in rows)) == keys
    assert len(rows) == 2 * 3 * 2
    assert {row["part 3"] for row in rows} == {""}
    with Image.open(tmp_path / "parts/examples.png") as drawn:
        assert drawn.width > 6 * 160  # an image, its parts, their regions, three heatmaps


def test_a_set_without_parts_is_refused(tmp_path: Path) -> None:
    trainer = fakes.trainer(tmp_path, PartProbabilities())
    with pytest.raises(
        ValueError, match="PartProbabilities needs a data set with parts, such as CUBDataModule, got FakeData"
    ):
        trainer.test(fakes.module(), datamodule=fakes.FakeData(), verbose=False)
