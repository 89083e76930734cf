"""The variants of the set: their classes, and colours in linear light."""

import numpy as np
import pytest

from vitrine.data.an8flower.variants import COLOURS, MATERIALS, VARIANTS, FlowerClass, Part, linear, removable_parts


@pytest.mark.parametrize(
    ("colour", "expected"),
    [
        ("#000000", (0, 0, 0)),
        ("#ffffff", (1, 1, 1)),
        ("#0a0a0a", (10 / 255 / 12.92,) * 3),
        ("#ff8000", (1, 0.2158605, 0)),
    ],
)
def test_srgb_becomes_linear_light(colour: str, expected: tuple[float, ...]) -> None:
    assert linear(colour) == pytest.approx(expected, abs=1e-7)


def test_a_palette_has_the_classes_colours_where_they_differ() -> None:
    neutral = FlowerClass("neutral", Part.PETAL).palette
    red = FlowerClass("red", Part.PETAL, {Part.PETAL: "#ff0000"}).palette
    assert neutral.shape == red.shape == (len(Part), 3)
    assert red[Part.PETAL].tolist() == [1, 0, 0]
    differs = (neutral != red).any(axis=1)
    assert [Part(part) for part in np.flatnonzero(differs)] == [Part.PETAL]


def test_every_part_has_a_material() -> None:
    assert set(MATERIALS) == set(Part)


def test_names_are_unique_and_extras_are_the_part_that_tells() -> None:
    for classes in VARIANTS.values():
        assert len({one.name for one in classes}) == len(classes)
    assert [one.name for one in VARIANTS["single-6c"]] == list(COLOURS)
    assert all(one.extras == {one.part} for one in VARIANTS["part-2c"])
    assert not any(one.extras for one in (*VARIANTS["single-6c"], *VARIANTS["double-12c"]))


def test_all_parts_can_be_removed_but_those_that_the_plant_stands_on() -> None:
    fixed = set(Part) - {Part.BACKGROUND, Part.GROUND, Part.BALL, Part.THORN}
    assert set(removable_parts(VARIANTS["single-6c"])) == set(removable_parts(VARIANTS["double-12c"])) == fixed
    assert removable_parts(VARIANTS["part-2c"])[-2:] == (Part.BALL, Part.THORN)
