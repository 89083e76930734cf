"""The pictures that average images are drawn as."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from vitrine.filters.average_images import AverageImage
from vitrine.filters.layers import ResponseLayer
from vitrine.filters.maxima import TargetFilter
from vitrine.visualization.colour_map import colours
from vitrine.visualization.contact_sheet import average_sheet

CELL, GAP, CAPTION = 40, 10, 22


def denormalize(images: Tensor) -> Tensor:
    return (images * 0.25 + 0.5).clamp(0, 1)


def average(colour: float, *, size: tuple[int, int] = (8, 8), places: bool = True, heat: float = 1.0) -> AverageImage:
    layer = ResponseLayer("features.3", "conv" if places else "linear", 7, 16, 0, places)
    ramp = torch.linspace(0, heat, size[0] * size[1], dtype=torch.float64).view(size)
    activation = ramp.flip(0) if places else None
    return AverageImage(
        TargetFilter(layer, 12), [], torch.full((3, *size), colour, dtype=torch.float64), activation, ramp, ramp
    )


def cell(sheet: Image.Image, row: int, column: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """The pixels of a cell, without its caption."""
    top, left = GAP + row * (CELL + CAPTION + GAP) + CAPTION, GAP + column * (CELL + GAP)
    return np.asarray(sheet)[top : top + CELL, left : left + CELL]


def test_a_row_a_feature_and_four_columns() -> None:
    sheet = average_sheet([average(0.0), average(2.0), average(-2.0)], ["a", "b", "c"], denormalize, cell=CELL)
    assert sheet.size == (GAP + 4 * (CELL + GAP), GAP + 3 * (CELL + CAPTION + GAP))
    assert [int(cell(sheet, row, 0).mean()) for row in range(3)] == [128, 255, 0]  # 0 is the mean colour


def test_maps_are_drawn_by_the_positive_part_over_its_maximum() -> None:
    sheet = average_sheet([average(0.0, size=(CELL, CELL), heat=1e-6)], ["a"], denormalize, cell=CELL)
    ramp = torch.linspace(0, 1, CELL * CELL).view(CELL, CELL)
    for column in (2, 3):
        difference = cell(sheet, 0, column).astype(int) - colours(ramp)
        assert np.abs(difference).max() <= 1
    assert not np.array_equal(cell(sheet, 0, 1), cell(sheet, 0, 2))


def test_a_layer_without_places_leaves_its_cell_empty() -> None:
    sheet = average_sheet([average(0.0, places=False)], ["a"], denormalize, cell=CELL)
    assert (cell(sheet, 0, 1) == 255).all()
    assert not (cell(sheet, 0, 2) == 255).all()


def test_a_map_that_is_nowhere_positive_is_grey() -> None:
    sheet = average_sheet([average(0.0, heat=-1.0)], ["a"], denormalize, cell=CELL)
    assert (cell(sheet, 0, 3) == 0xEE).all()


def test_an_oblong_field_keeps_its_proportions() -> None:
    sheet = average_sheet([average(-2.0, size=(4, 8))], ["a"], denormalize, cell=CELL)
    pixels = cell(sheet, 0, 0)
    assert (pixels[: CELL // 4] == 255).all()
    assert (pixels[-CELL // 4 :] == 255).all()
    assert (pixels[CELL // 4 : 3 * CELL // 4] == 0).all()


def test_the_caption_is_the_label(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[list[str]] = []

    def grid(rows: list[list[tuple[str, Image.Image]]]) -> Image.Image:
        drawn.extend([caption for caption, _ in row] for row in rows)
        return rows[0][0][1]

    monkeypatch.setattr("vitrine.visualization.contact_sheet.captioned_grid", grid)
    average_sheet([average(0.0), average(0.0, places=False)], ["7 features.3 #12 +0.42", "b"], denormalize)
    assert drawn == [
        ["7 features.3 #12 +0.42", "activation", "deconv + GB", "ours"],
        ["b", "activation (no map)", "deconv + GB", "ours"],
    ]


def test_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="no average images"):
        average_sheet([], [], denormalize)
