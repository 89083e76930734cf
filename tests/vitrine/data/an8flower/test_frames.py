"""What tells two classes apart lies inside the masks, to the bit, and the masks hold nothing else."""

from collections.abc import Callable
from functools import cache
from itertools import combinations

import numpy as np
import pytest

from vitrine.data.an8flower.camera import View
from vitrine.data.an8flower.frames import colour, part_map, part_mask, resolve, tight_box
from vitrine.data.an8flower.generate import cast_views, render_frame
from vitrine.data.an8flower.renderer import Layer, Renderer
from vitrine.data.an8flower.scene import build_scene
from vitrine.data.an8flower.settings import FlowerSettings
from vitrine.data.an8flower.variants import VARIANTS, Part, Variant

Make = Callable[..., FlowerSettings]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("view", [0, 3])
def test_two_classes_are_the_same_bits_outside_their_masks(small: Make, variant: Variant, view: int) -> None:
    settings = small(variant, size=64)
    frames = [render_frame(settings, view, label) for label in range(len(VARIANTS[variant]))]
    for (image, mask), (other, other_mask) in combinations(frames, 2):
        outside = ~(mask | other_mask)
        assert np.array_equal(image[outside], other[outside])
        assert not np.array_equal(image, other)


@pytest.mark.parametrize("part", [Part.PETAL, Part.STEM, Part.BALL, Part.THORN])
@pytest.mark.parametrize("supersampling", [1, 2, 3])
def test_recolouring_a_part_changes_the_pixels_of_its_mask_and_no_others(part: Part, supersampling: int) -> None:
    extras = frozenset({Part.BALL, Part.THORN})
    layer = _renderer().cast(View(75.0, 56, supersampling), [extras])[extras]
    black = np.full((len(Part), 3), 0.2, np.float32)
    white = black.copy()
    black[part], white[part] = 0, 20  # so bright that a single sub-sample in shadow shows in the mean
    change = resolve(colour(layer, black), supersampling) != resolve(colour(layer, white), supersampling)
    mask = part_mask(layer.part, part, supersampling)
    assert np.array_equal(change.any(axis=-1), mask)
    assert 0 < mask.sum() < mask.size


def test_some_mask_pixels_belong_to_the_part_only_in_part(small: Make) -> None:
    settings = small(size=64)
    parts = cast_views(settings, 0)[frozenset()].part.reshape(64, 3, 64, 3)
    share = (parts == Part.PETAL).mean(axis=(1, 3))
    _, mask = render_frame(settings, 0, 0)
    assert np.array_equal(mask, share > 0)
    assert ((share > 0) & (share < 0.5)).any()


def test_a_mean_of_sub_samples_is_taken_in_linear_light() -> None:
    linear = np.zeros((2, 2, 3), np.uint16)
    linear[0] = 4095  # half of the pixel is white: 0.5 linear is 188 in sRGB
    assert resolve(linear, 2).tolist() == [[[188, 188, 188]]]


def test_colour_is_palette_times_light_plus_highlight() -> None:
    ones = np.ones((1, 1), np.float32)
    layer = Layer(
        np.full((1, 1), Part.POT, np.uint8),
        ones,
        np.array([[[0.5, 1.0, 4.0]]], np.float32),
        np.full((1, 1), 0.1, np.float32),
    )
    palette = np.zeros((len(Part), 3), np.float32)
    palette[Part.POT] = 0.4, 0.2, 0.5
    assert colour(layer, palette)[0, 0].tolist() == [round(0.3 * 4095), round(0.3 * 4095), 4095]


def test_a_box_is_tight_and_half_open() -> None:
    mask = np.zeros((7, 9), bool)
    assert tight_box(mask) is None
    mask[2, 3] = mask[4, 8] = True
    assert tight_box(mask) == [3, 2, 9, 5]


def test_classes_of_a_variant_follow_the_paper() -> None:
    assert {variant: len(classes) for variant, classes in VARIANTS.items()} == {
        "single-6c": 6,
        "double-12c": 12,
        "part-2c": 2,
    }
    assert {c.part for c in VARIANTS["single-6c"]} == {Part.PETAL}
    parts = [c.part for c in VARIANTS["double-12c"]]
    assert parts == [Part.PETAL] * 6 + [Part.STEM] * 6
    petals, stems = VARIANTS["double-12c"][:6], VARIANTS["double-12c"][6:]
    assert [c.colours[Part.PETAL] for c in petals] == [c.colours[Part.STEM] for c in stems]


@cache
def _renderer() -> Renderer:
    return Renderer(build_scene(0))


def test_a_part_map_reads_the_middle_sub_sample() -> None:
    parts = np.full((6, 6), Part.GROUND, np.uint8)
    parts[1, 1], parts[0, 3:], parts[4, 4] = Part.PETAL, Part.STEM, Part.STEM
    assert part_map(parts, [Part.STEM, Part.PETAL], 3).tolist() == [[2, 0], [0, 1]]
