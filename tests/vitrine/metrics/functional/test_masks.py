"""Overlap of heatmaps and masks at thresholds: closed forms, and a loop bit by bit."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vitrine.metrics import functional
from vitrine.metrics.functional import IOU_THRESHOLDS, iou_at_thresholds, iou_curve, iou_curve_area


def test_the_thresholds_are_the_decimal_ones() -> None:
    assert tuple(float(f"{number:.2f}") for number in [step * 0.01 for step in range(101)]) == IOU_THRESHOLDS


def test_a_perfect_map_is_all_right_above_0_and_the_masks_share_at_0() -> None:
    mask = torch.zeros(1, 4, 5)
    mask[0, 1:3, 1:4] = 1
    curve = iou_curve(-7 + 3 * mask, mask)
    assert curve.dtype == torch.float64
    assert curve.tolist() == [6 / 20] + [1.0] * 100
    assert float(iou_curve_area(mask, mask)) == pytest.approx(100 * (1 - 0.01 * (1 - 6 / 20) / 2), abs=1e-12)


def test_the_opposite_of_a_perfect_map_overlaps_at_0_alone() -> None:
    mask = torch.zeros(1, 4, 5)
    mask[0, 1:3, 1:4] = 1
    assert iou_curve(-mask, mask).tolist() == [6 / 20] + [0.0] * 100


def test_a_map_of_three_levels_is_a_step_function() -> None:
    """10 pixels of 1, 30 of 0.5 and 60 of 0; the mask is the 10 and 20 of the 30."""
    maps = torch.tensor([1.0] * 10 + [0.5] * 30 + [0.0] * 60).reshape(1, 10, 10)
    mask = torch.tensor([1] * 30 + [0] * 70).reshape(1, 10, 10)
    expected = [30 / 100] + [30 / 40] * 50 + [10 / 30] * 50  # on at its own value: t = 0.5 is still the second step
    assert iou_curve(maps, mask).tolist() == expected
    by_hand = 0.005 * (0.3 + 0.75) + 0.49 * 0.75 + 0.005 * (0.75 + 1 / 3) + 0.49 / 3
    assert float(iou_curve_area(maps, mask)) == pytest.approx(100 * by_hand, abs=1e-12)


def test_a_linear_ramp_is_on_at_the_thresholds_themselves() -> None:
    """Levels 0 … 100 and a mask of those from 40 on: at t = k / 100 the 101 − k highest are on."""
    ramp = torch.arange(101.0).reshape(1, 1, 101)
    expected = [61 / (101 - k) if k <= 40 else (101 - k) / 61 for k in range(101)]
    assert iou_curve(5 * ramp - 3, (ramp >= 40).int()).tolist() == expected


def naive(image: Tensor, mask: Tensor, thresholds: Any = IOU_THRESHOLDS) -> list[float]:
    """Scales, and then counts pixels anew at each threshold, in Python's own float64."""
    values, inside = image.double().flatten().tolist(), [bool(pixel) for pixel in mask.flatten().tolist()]
    low, high = min(values), max(values)
    if not any(inside):
        return [math.nan] * len(thresholds)
    if low == high:
        return [0.0] * len(thresholds)
    curve = []
    for threshold in thresholds:
        on = [(value - low) / (high - low) >= threshold for value in values]
        both = sum(o and i for o, i in zip(on, inside, strict=True))
        either = sum(o or i for o, i in zip(on, inside, strict=True))
        curve.append(both / either)
    return curve


PIXELS = st.lists(
    st.one_of(st.floats(-1e6, 1e6), st.integers(0, 100).map(lambda step: step / 100)), min_size=12, max_size=12
)


@given(image=PIXELS, mask=st.lists(st.booleans(), min_size=12, max_size=12))
def test_it_is_the_naive_loop_bit_for_bit(image: list[float], mask: list[bool]) -> None:
    maps, masks = torch.tensor(image, dtype=torch.float64).reshape(1, 3, 4), torch.tensor(mask).reshape(1, 3, 4)
    found = iou_at_thresholds(maps, masks)
    assert torch.equal(found.nan_to_num(-1), torch.tensor([naive(maps, masks)], dtype=torch.float64).nan_to_num(-1))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.uint8])
def test_maps_of_any_type_are_compared_in_float64(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = (40 * torch.rand(4, 9, 7, generator=generator)).to(dtype)
    masks = torch.rand(4, 9, 7, generator=generator) < 0.3
    expected = torch.tensor([naive(one, mask) for one, mask in zip(maps, masks, strict=True)], dtype=torch.float64)
    assert torch.equal(iou_at_thresholds(maps, masks), expected)
    assert torch.equal(iou_curve(maps, masks), expected.mean(dim=0))


def test_own_thresholds() -> None:
    maps, masks = torch.rand(3, 6, 6, dtype=torch.float64), torch.rand(3, 6, 6) < 0.5
    own = [-0.5, 0.123, 0.9, 1.0, 1.5]
    expected = torch.tensor([naive(*pair, own) for pair in zip(maps, masks, strict=True)], dtype=torch.float64)
    assert torch.equal(iou_at_thresholds(maps, masks, own), expected)
    assert torch.equal(iou_curve(maps, masks, torch.tensor(own, dtype=torch.float64)), expected.mean(dim=0))
    for wrong in ([0.5, 0.5], [0.5, 0.1], [0.1, math.nan], 0.5):
        with pytest.raises(ValueError, match=r"thresholds are .*; give a list of increasing numbers"):
            iou_at_thresholds(maps, masks, wrong)  # type: ignore[arg-type]


def test_scale_and_offset_of_a_map_do_not_matter() -> None:
    maps, masks = torch.randint(0, 50, (3, 6, 6)), torch.rand(3, 6, 6) < 0.5
    assert torch.equal(iou_curve(maps, masks), iou_curve(-17.0 + 4.0 * maps, masks))


@pytest.mark.parametrize("value", [0.0, -1.0, 2.0, torch.nan, torch.inf, -torch.inf])
def test_degenerate_maps_overlap_with_nothing(value: float) -> None:
    mask = torch.zeros(1, 3, 3)
    mask[0, 0] = 1
    assert not iou_curve(torch.full((1, 3, 3), value), mask).any()
    assert not iou_curve(torch.full((1, 3, 3), value), torch.ones(1, 3, 3)).any()
    if not math.isfinite(value):
        spoilt = mask.clone()
        spoilt[0, 2, 2] = value
        assert not iou_curve(spoilt, mask).any()
        both = iou_curve(torch.cat([spoilt, mask]), torch.cat([mask, mask]))
        assert torch.equal(both, iou_curve(mask, mask) / 2)


def test_an_image_without_a_mask_is_left_out() -> None:
    maps, masks = torch.rand(3, 5, 5), torch.rand(3, 5, 5) < 0.5
    masks[1] = False
    assert iou_at_thresholds(maps, masks).isnan().all(dim=1).tolist() == [False, True, False]
    assert torch.equal(iou_curve(maps, masks), iou_curve(maps[[0, 2]], masks[[0, 2]]))
    assert iou_curve_area(maps[1:2], masks[1:2]).isnan()


def test_chunks_equal_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    maps, masks = torch.randn(7, 5, 6), torch.rand(7, 5, 6) < 0.5
    masks[3] = False
    whole = iou_at_thresholds(maps, masks)
    one_by_one = torch.cat([iou_at_thresholds(maps[row : row + 1], masks[row : row + 1]) for row in range(7)])
    assert torch.equal(one_by_one.nan_to_num(-1), whole.nan_to_num(-1))
    monkeypatch.setattr(functional.masks, "MAPS_AT_ONCE", 2)
    assert torch.equal(iou_at_thresholds(maps, masks).nan_to_num(-1), whole.nan_to_num(-1))


def test_inputs_stay_as_they_are() -> None:
    maps, masks = torch.tensor([[[1.0, torch.nan]], [[0.0, 2.0]]]), torch.ones(2, 1, 2)
    before = maps.clone()
    iou_curve(maps, masks)
    assert torch.equal(maps.nan_to_num(-1), before.nan_to_num(-1))
    assert bool((masks == 1).all())
