"""Scores of saliency maps: by hand, against a naive count and against pysodmetrics."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from py_sod_metrics import MAE, Fmeasure

from vitrine.metrics.functional import saliency_curves, saliency_scores


def scores(map_: list[list[float]], mask: list[list[int]]) -> list[float]:
    return [float(score) for score in saliency_scores(torch.tensor(map_, dtype=torch.float64), torch.tensor(mask))]


def test_a_map_that_is_the_mask_is_perfect() -> None:
    mask = torch.zeros(9, 12)
    mask[2:5, 3:7] = 1
    assert [float(score) for score in saliency_scores(5 * mask, mask)] == [1, 1, 1, 0]
    curves = saliency_curves(5 * mask, mask)
    assert [float(curve[1:].min()) for curve in curves] == [1, 1, 1]
    assert float(curves.precision[0]) == pytest.approx(12 / 108)  # all is on at t = 0


def test_by_hand() -> None:
    """A mean of 1/4: 0.5 and more is on. Three are on, two of them on the object, which has four pixels."""
    map_ = [[1.0, 0.5, 0.5, 0.0], [0.0, 0.0, 0.0, 0.0]]
    mask = [[1, 1, 0, 0], [1, 1, 0, 0]]
    precision, recall = 2 / 3, 2 / 4
    f = 1.3 * precision * recall / (0.3 * precision + recall)
    assert scores(map_, mask) == pytest.approx([precision, recall, f, (0 + 0.5 + 0.5 + 0 + 1 + 1 + 0 + 0) / 8])


def test_the_threshold_itself_is_on_and_has_no_cap() -> None:
    at = [[0.2] * 5 + [0.0] * 5]
    mask = [[1] * 5 + [0] * 5]
    assert scores(at, mask) == pytest.approx([1, 1, 1, 0])  # 0.2 is twice the mean
    above = [[0.6, 1.0, 1.0, 1.0]]  # twice the mean is 1.8, which nothing reaches
    assert scores(above, [[0, 1, 1, 1]]) == [0, 0, 0, 0]


def test_the_error_takes_the_scaled_map_whatever_its_range() -> None:
    mask = [[1, 0, 0]]
    assert scores([[4.0, 3.0, 2.0]], mask)[3] == pytest.approx(0.5 / 3)
    assert scores([[0.0, -1.0, -2.0]], mask)[3] == pytest.approx(0.5 / 3)
    assert scores([[1.0, 0.5, 0.0]], mask)[3] == pytest.approx(0.5 / 3)


@pytest.mark.parametrize("value", [0.0, 0.3, torch.nan, torch.inf])
def test_degenerate_maps_and_empty_masks_are_not_numbers(value: float) -> None:
    spoilt, mask = torch.full((4, 5), value), torch.ones(4, 5)
    good = torch.eye(4, 5)
    for map_, where in ((spoilt, mask), (good, torch.zeros(4, 5))):
        assert all(score.isnan() for score in saliency_scores(map_, where))
        assert all(curve.isnan().all() for curve in saliency_curves(map_, where))
    together = saliency_scores(torch.stack([spoilt, good]), torch.stack([mask, good]))
    assert [float(score[1]) for score in together] == [1, 1, 1, 0]


@given(
    values=st.lists(st.integers(0, 4), min_size=24, max_size=24).filter(lambda values: len(set(values)) > 1),
    inside=st.lists(st.booleans(), min_size=24, max_size=24).filter(any),
)
def test_it_is_the_naive_count(values: list[int], inside: list[bool]) -> None:
    on = [value >= 2 * Fraction(sum(values), 24) for value in values]
    hits = sum(a and b for a, b in zip(on, inside, strict=True))
    precision, recall = hits / max(sum(on), 1), hits / sum(inside)
    f = 1.3 * precision * recall / (0.3 * precision + recall) if hits else 0.0
    span = max(values) - min(values)
    mae = sum(abs((v - min(values)) / span - i) for v, i in zip(values, inside, strict=True)) / 24
    found = saliency_scores(torch.tensor(values).float().reshape(4, 6), torch.tensor(inside).reshape(4, 6))
    assert [float(score) for score in found] == pytest.approx([precision, recall, f, mae])


@pytest.mark.filterwarnings("ignore:This class will be removed")
@given(seed=st.integers(0, 10_000))
def test_it_is_pysodmetrics(seed: int) -> None:
    """Maps from 0 to 1 of a mean below a half, where its cap of the threshold at 1 does not apply."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(17, 13, generator=generator) < 0.3
    map_ = (torch.rand(17, 13, generator=generator, dtype=torch.float64) + 0.5 * mask) ** 2
    map_ = (map_ - map_.min()) / (map_.max() - map_.min())
    other, error = Fmeasure(), MAE()
    for measure in (other, error):
        measure.step(map_.numpy(), mask.numpy(), normalize=False)
    results, found, curves = other.get_results(), saliency_scores(map_, mask), saliency_curves(map_, mask)
    assert 2 * float(map_.mean()) < 1
    assert float(found.f) == pytest.approx(results["fm"]["adp"])
    assert float(found.mae) == pytest.approx(error.get_results()["mae"])
    theirs = (results["pr"]["p"], results["pr"]["r"], results["fm"]["curve"])
    for ours, curve in zip(curves, theirs, strict=True):
        np.testing.assert_allclose(ours.flip(0).numpy(), curve, atol=1e-12)


@pytest.mark.filterwarnings("ignore:This class will be removed")
def test_it_is_pysodmetrics_on_8_bits() -> None:
    """As it is used on files: quantised to 255 levels, of which all are taken; quantising moves the error by half a level."""
    generator = torch.Generator().manual_seed(1)
    mask = torch.rand(40, 50, generator=generator) < 0.4
    map_ = (torch.rand(40, 50, generator=generator) + 0.4 * mask) ** 3
    levels = (255 * (map_ - map_.min()) / (map_.max() - map_.min())).round()
    other, error = Fmeasure(), MAE()
    for measure in (other, error):
        measure.step(levels.byte().numpy(), 255 * mask.byte().numpy())
    found = saliency_scores(levels, mask)
    assert float(found.f) == pytest.approx(other.get_results()["fm"]["adp"])
    assert float(found.mae) == pytest.approx(error.get_results()["mae"])
    assert float(saliency_scores(map_, mask).mae) == pytest.approx(float(found.mae), abs=0.5 / 255)
    assert float(saliency_curves(levels, mask).f.max()) == pytest.approx(
        other.get_results()["fm"]["curve"].max(), abs=1e-3
    )


@given(seed=st.integers(0, 10_000))
def test_many_are_one_by_one(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    maps = torch.rand(2, 3, 8, 9, generator=generator)
    maps[1, 2, 0, 0] = torch.nan
    masks = torch.rand(2, 3, 8, 9, generator=generator) < 0.2
    for function in (saliency_scores, saliency_curves):
        together = function(maps, masks)
        for place in ((0, 0), (0, 2), (1, 2)):
            for ours, alone in zip(together, function(maps[place], masks[place]), strict=True):
                assert torch.equal(ours[place].nan_to_num(-1), alone.nan_to_num(-1))
