"""Energy in boxes and masks as metrics: what cannot be measured is counted apart."""

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


def explanation_of(maps: torch.Tensor) -> Explanation:
    """One heatmap an image, with a contribution of 1."""
    count = len(maps)
    classes = torch.zeros(count, dtype=torch.int64)
    return Explanation(maps[:, None], torch.ones(count, 1), [["map"]] * count, classes, classes, torch.zeros(count, 2))


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
