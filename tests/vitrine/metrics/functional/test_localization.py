"""Boxes around heatmaps: by hand, against a double loop and against pycocotools."""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco

from tests.helpers.box_maps import on_box, rows
from vitrine.metrics.functional import (
    LOCALIZATION_ALPHAS,
    localization_error,
    localization_ious,
    localization_success,
    tightest_box,
    tightest_boxes,
)

Box = Sequence[float]


@pytest.mark.parametrize("box", [(3, 2, 9, 5), (0, 0, 30, 1), (0, 0, 1, 1), (29, 19, 30, 20), (0, 0, 29, 20)])
@pytest.mark.parametrize("alpha", [0, 0.5, 1])
def test_the_box_of_a_box_is_itself(box: tuple[int, int, int, int], alpha: float) -> None:
    assert tightest_box(on_box(box), alpha).tolist() == list(box)
    assert tightest_box(on_box(box), alpha, largest_component=True).tolist() == list(box)
    assert localization_error(on_box(box)[None], [rows(box)], alpha) == 0


def test_all_that_is_on_is_enclosed_or_only_the_largest() -> None:
    apart = on_box((2, 1, 6, 4), (27, 17, 29, 19))
    assert tightest_box(apart, 1).tolist() == [2, 1, 29, 19]
    assert tightest_box(apart, 1, largest_component=True).tolist() == [2, 1, 6, 4]
    apart[10, 10] = 5  # what is brightest is not what is largest
    assert tightest_box(apart, 1, largest_component=True).tolist() == [2, 1, 6, 4]


def test_on_is_above_the_threshold_and_not_at_it() -> None:
    map_ = on_box((0, 0, 10, 15))  # a mean of a quarter
    assert tightest_box(map_, 3.9999).tolist() == [0, 0, 10, 15]
    assert tightest_box(map_, 4).isnan().all()
    assert tightest_box(0.1 * map_, 4).isnan().all()
    small = on_box((0, 0, 10, 15), value=0.1)
    small[19, 29] = 0.2
    assert tightest_box(small, 4).tolist() == [29, 19, 30, 20]


@pytest.mark.parametrize("value", [0.0, 0.3, -1.0, torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("largest", [False, True])
def test_degenerate_maps_have_no_box_and_never_succeed(value: float, *, largest: bool) -> None:
    whole = [rows((0, 0, 30, 20))]
    spoilt = on_box((0, 0, 30, 20))
    spoilt[4, 4] = value if not math.isfinite(value) else 1.0
    for map_ in (torch.full((20, 30), value), spoilt):
        for alpha in (0, 0.5, 1, 10):
            assert tightest_box(map_, alpha, largest_component=largest).isnan().all()
            assert localization_success(map_[None], whole, alpha, largest_component=largest).isnan().all()
            assert localization_error(map_[None], whole, alpha, largest_component=largest) == 1


def naive_box(map_: list[list[int]], alpha: float) -> tuple[int, int, int, int] | None:
    """Asks every pixel, in exact fractions."""
    values = [value for row in map_ for value in row]
    if len(set(values)) == 1:
        return None
    level = Fraction(alpha) * Fraction(sum(values), len(values))
    on = [(x, y) for y, row in enumerate(map_) for x, value in enumerate(row) if value > level]
    if not on:
        return None
    xs, ys = zip(*on, strict=True)
    return min(xs), min(ys), max(xs) + 1, max(ys) + 1


def naive_iou(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    """Counts pixels of both."""
    pixels, others = ({(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])} for box in (one, other))
    return len(pixels & others) / len(pixels | others)


HEIGHT, WIDTH = 6, 8


CORNERS = st.tuples(st.integers(0, 7), st.integers(0, 5), st.integers(1, 8), st.integers(1, 6)).filter(
    lambda box: box[0] < box[2] and box[1] < box[3]
)


VALUES = st.integers(0, 3) | st.just(0) | st.just(12)


@given(
    image=st.lists(st.lists(VALUES, min_size=WIDTH, max_size=WIDTH), min_size=HEIGHT, max_size=HEIGHT),
    boxes=st.lists(CORNERS, max_size=3),
)
def test_it_is_the_naive_double_loop_at_all_alphas(
    image: list[list[int]], boxes: list[tuple[int, int, int, int]]
) -> None:
    maps, truth = torch.tensor([image]).float(), [rows(*boxes)]
    found = tightest_boxes(maps)[0]
    ious = localization_ious(maps, truth)[0].tolist()
    constant = len({value for row in image for value in row}) == 1
    for alpha, box, iou in zip(LOCALIZATION_ALPHAS, found, ious, strict=True):
        naive = naive_box(image, alpha)
        assert box.nan_to_num(-1).tolist() == list(naive or (-1,) * 4)
        best = max((naive_iou(naive, box) for box in boxes), default=0.0) if naive else 0.0
        assert iou == pytest.approx(math.nan if constant else best, abs=1e-12, nan_ok=True)
        success = math.nan if constant else float(best > 0.5)
        assert localization_success(maps, truth, alpha).tolist() == pytest.approx([success], nan_ok=True)


@given(seed=st.integers(0, 10_000), largest=st.booleans())
def test_all_alphas_at_once_are_one_by_one_and_so_are_images(seed: int, *, largest: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    maps = torch.rand(3, 9, 7, generator=generator) ** 4
    maps[1] *= torch.tensor([1.0, torch.nan, 0.0])[seed % 3]
    boxes = [rows((0, 0, 5, 5)), rows((2, 2, 6, 9), (0, 0, 7, 9)), rows((1, 1, 3, 3))]
    together = localization_ious(maps, boxes, largest_component=largest)
    for row in range(3):
        alone = localization_ious(maps[row : row + 1], boxes[row : row + 1], largest_component=largest)
        assert torch.equal(alone[0].nan_to_num(-1), together[row].nan_to_num(-1))
        for index in (0, 3, 20):
            alpha = LOCALIZATION_ALPHAS[index]
            one = localization_ious(maps[row : row + 1], boxes[row : row + 1], [alpha], largest_component=largest)
            assert torch.equal(one[0, 0].nan_to_num(-1), together[row, index].nan_to_num(-1))


@given(seed=st.integers(0, 10_000))
def test_overlaps_are_those_of_pycocotools(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    maps = torch.rand(2, 12, 15, generator=generator) ** 6
    corners = torch.rand(2, 3, 4, generator=generator, dtype=torch.float64) * 7
    boxes = [torch.cat([part[:, :2], part[:, :2] + 0.5 + part[:, 2:]], dim=1) for part in corners]
    found, ious = tightest_boxes(maps), localization_ious(maps, boxes)
    for own, truth, iou in zip(found, boxes, ious, strict=True):
        there = own.isfinite().all(dim=1)
        sides = [np.concatenate([b[:, :2], b[:, 2:] - b[:, :2]], axis=1) for b in (own[there].numpy(), truth.numpy())]
        expected = torch.from_numpy(coco.iou(*sides, [0] * len(truth)).max(axis=1))
        torch.testing.assert_close(iou[there], expected, rtol=1e-9, atol=1e-12)
        assert not iou[~there].any()


@pytest.mark.parametrize(("width", "expected"), [(10, 0.0), (9, 1.0), (11, 0.0)])
def test_half_an_overlap_is_not_enough(width: int, expected: float) -> None:
    """A map of 5 columns in a box of 10 overlaps by just a half."""
    found = localization_success(on_box((0, 0, 5, 20))[None], [rows((0, 0, width, 20))], 1)
    assert found.tolist() == [expected]


def test_any_box_will_do_and_none_is_left_out_of_the_error() -> None:
    maps = on_box((3, 2, 9, 5)).expand(3, -1, -1)
    boxes = [rows((20, 10, 30, 20), (3, 2, 9, 5)), rows((20, 10, 30, 20)), rows()]
    assert localization_success(maps, boxes, 1).tolist() == [1, 0, 0]
    assert localization_error(maps, boxes, 1) == 0.5
    assert localization_error(maps[2:], boxes[2:], 1).isnan()
    assert localization_ious(maps[:0], []).shape == (0, 21)


def test_a_box_is_not_better_for_being_hit_by_another_images_map() -> None:
    maps = torch.stack([on_box((0, 0, 5, 5)), on_box((10, 10, 20, 20))])
    assert localization_success(maps, [rows((10, 10, 20, 20)), rows((0, 0, 5, 5))], 1).tolist() == [0, 0]
