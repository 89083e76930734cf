"""Crops are taken where the paper says, and image and mask go the same way."""

from collections.abc import Callable

import numpy as np
import pytest

from vitrine.data.an8flower.augmentation import Crop, crop_samples, make_crops
from vitrine.data.an8flower.frames import colour, part_mask, resolve
from vitrine.data.an8flower.generate import cast_views
from vitrine.data.an8flower.settings import FlowerSettings
from vitrine.data.an8flower.variants import VARIANTS, Variant


def test_there_are_crops_times_rotations_and_all_differ() -> None:
    crops = make_crops(300, 250, 5, 5)
    assert len({crop.name for crop in crops}) == len(set(crops)) == 25
    assert sorted({crop.degrees for crop in crops}) == [5, 10, 15, 20, 25]


@pytest.mark.parametrize(("place", "top", "left"), [(0, 2, 2), (1, 0, 0), (2, 0, 4), (3, 4, 0), (4, 4, 4)])
def test_without_a_turn_a_crop_is_a_slice(place: int, top: int, left: int) -> None:
    frame = np.arange(24 * 24).reshape(24, 24)
    window = crop_samples(frame, Crop(12, 8, place, 0), supersampling=2)
    assert np.array_equal(window, frame[2 * top : 2 * top + 16, 2 * left : 2 * left + 16])


def test_a_quarter_turn_is_counterclockwise() -> None:
    frame = np.arange(36).reshape(6, 6)
    assert np.array_equal(crop_samples(frame, Crop(6, 6, 0, 90), supersampling=1), np.rot90(frame))


def test_a_turn_shows_nothing_from_outside_the_frame_but_its_edge() -> None:
    frame = np.zeros((20, 20), int)
    frame[0], frame[-1], frame[:, 0], frame[:, -1] = 1, 1, 1, 1
    corner = crop_samples(frame, Crop(20, 20, 0, 25), supersampling=1)[:3, :3]
    assert corner[0, 0] == 1
    assert set(np.unique(crop_samples(frame, Crop(20, 20, 0, 25), supersampling=1))) == {0, 1}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_augmented_mask_follows_the_image(small: Callable[..., FlowerSettings], variant: Variant) -> None:
    settings, s = small(variant, size=48, crop_size=40), 3
    flower = VARIANTS[variant][-1]
    layer = cast_views(settings, 1)[flower.extras]
    dark, bright = flower.palette, flower.palette
    dark[flower.part], bright[flower.part] = 0, 20
    for crop in make_crops(48, 40, 5, 5):
        images = [resolve(crop_samples(colour(layer, palette), crop, s), s) for palette in (dark, bright)]
        mask = part_mask(crop_samples(layer.part, crop, s), flower.part, s)
        assert np.array_equal((images[0] != images[1]).any(axis=-1), mask)
        assert mask.any()
