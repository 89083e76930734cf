"""Energy inside regions by hand, degenerate maps and missing annotation counted apart."""

import pytest
import torch

from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.metrics import (
    EnergyInBoxes,
    EnergyInMask,
    IoUCurve,
    Locality,
    LocalizationError,
    PointingGame,
    SaliencyDetection,
    metrics_for,
)
from vitrine.metrics.functional import box_region, energy_inside


def explanation_of(maps: torch.Tensor) -> Explanation:
    """One heatmap an image, with a contribution of 1."""
    count = len(maps)
    classes = torch.zeros(count, dtype=torch.int64)
    return Explanation(maps[:, None], torch.ones(count, 1), [["map"]] * count, classes, classes, torch.zeros(count, 2))


def test_share_of_the_positive_part() -> None:
    maps = torch.tensor([[[1.0, 3.0], [-5.0, 0.0]]])
    region = torch.tensor([[[1, 0], [1, 0]]])
    assert float(energy_inside(maps, region)) == pytest.approx(1 / 4)


@pytest.mark.parametrize("value", [0.0, -1.0, 2.0, torch.nan, torch.inf])
def test_degenerate_maps_are_never_a_hit(value: float) -> None:
    assert energy_inside(torch.full((1, 2, 2), value), torch.ones(1, 2, 2)).isnan().all()


def test_one_nan_makes_a_map_degenerate() -> None:
    maps = torch.tensor([[[1.0, torch.nan], [0.0, 0.0]]])
    assert energy_inside(maps, torch.ones(1, 2, 2)).isnan().all()


def test_boxes_are_half_open() -> None:
    region = box_region(torch.tensor([[1.0, 0.0, 3.0, 2.0]]), (3, 4))
    expected = torch.tensor([[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]], dtype=torch.bool)
    torch.testing.assert_close(region, expected)
    assert not box_region(torch.zeros(0, 4), (3, 4)).any()


def test_what_cannot_be_measured_is_counted_apart() -> None:
    maps = torch.zeros(3, 2, 2)
    maps[0, 0, 0], maps[0, 1, 1] = 3.0, 1.0
    maps[2, 0, 0] = 1.0
    mask = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    mask[:2, 0, 0, 0] = 1
    metric = EnergyInMask()
    metric.update(explanation_of(maps), Batch(mask=mask))
    values = {name: float(value) for name, value in metric.compute().items()}
    assert values == {
        "energy_in_mask": 0.75,
        "energy_in_mask/area": 0.25,
        "energy_in_mask/degenerate": 1.0,
        "energy_in_mask/skipped": 1.0,
    }


def test_boxes_of_a_batch() -> None:
    maps = torch.zeros(1, 2, 4)
    maps[0, 0, 0], maps[0, 0, 3] = 1.0, 4.0
    metric = EnergyInBoxes()
    metric.update(explanation_of(maps), Batch(boxes=[torch.tensor([[3.0, 0.0, 4.0, 1.0]])]))
    assert float(metric.compute()["energy_in_boxes"]) == pytest.approx(0.8)


def test_metrics_follow_from_the_annotation() -> None:
    chosen = [type(metric) for metric in metrics_for({"mask", "boxes", "parts"})]
    expected = [EnergyInBoxes, LocalizationError, PointingGame, EnergyInMask, IoUCurve, SaliencyDetection, Locality]
    assert chosen == expected
