"""Values of single rows and curves: their means are the figures, over batches, degenerate maps and absent annotation."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.ranks import RankPool
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.data.preprocessing import Preprocessing
from vitrine.metrics import (
    EnergyInBoxes,
    EnergyInMask,
    ExplanationMetric,
    IoUCurve,
    LocalizationError,
    MaskedAccuracy,
    PointingGame,
    SaliencyDetection,
)

SIDE, COUNT = 12, 8
EMPTY, CONSTANT, NOT_FINITE = 2, 3, 5
"""Rows without annotation, and with degenerate maps."""


def classify(images: Tensor) -> Tensor:
    return images[:, :, :6].mean(dim=(2, 3))


METRICS: dict[str, tuple[Callable[[], ExplanationMetric], int]] = {
    "iou": (IoUCurve, 1),
    "saliency": (SaliencyDetection, 4),
    "mask": (EnergyInMask, 1),
    "boxes": (EnergyInBoxes, 1),
    "localization": (lambda: LocalizationError(alpha=0.8), 1),
    "pointing": (PointingGame, 1),
    "masked": (lambda: MaskedAccuracy(classify, Preprocessing(SIDE, SIDE), [0.5, 0.1], "black"), 5),
}
"""A metric, and how many of its figures have a value of single rows."""


def taken(metric: ExplanationMetric, rows: slice) -> ExplanationMetric:
    generator = torch.Generator().manual_seed(2)
    maps, images = (torch.rand(COUNT, channels, SIDE, SIDE, generator=generator) for channels in (1, 3))
    maps[CONSTANT], maps[NOT_FINITE, 0, 0, 0] = 0.5, torch.nan
    mask = torch.zeros(COUNT, 1, SIDE, SIDE, dtype=torch.uint8)
    mask[:, :, 2:9, 3:12], mask[EMPTY] = 1, 0
    boxes = [torch.tensor([[1.0, 1.0, 11.0 - row, 12.0]])[: row != EMPTY] for row in range(COUNT)]
    classes = torch.tensor([0, 1, 1, 2, 0, 0, 2, 1])
    maps, mask, images, classes, boxes = maps[rows], mask[rows], images[rows], classes[rows], boxes[rows]
    labels = [["map"]] * len(maps)
    explanation = Explanation(maps, torch.ones(len(maps), 1), labels, classes, classes, torch.zeros(len(maps), 3))
    metric.update(explanation, Batch(image=images, label=classes, mask=mask, boxes=boxes))
    return metric


@pytest.mark.parametrize("name", METRICS)
def test_the_mean_of_the_rows_is_the_figure(name: str) -> None:
    make, count = METRICS[name]
    metric, values = make(), []
    for rows in (slice(3), slice(3, COUNT)):
        taken(metric, rows)
        assert {value.dtype for value in metric.row_values.values()} == {torch.float64}
        values.append(metric.row_values)
    figures = metric.compute()
    assert len(values[0]) == count
    for figure in values[0]:
        of_rows = torch.cat([of_batch[figure].cpu() for of_batch in values])
        assert of_rows.shape == (COUNT,)
        assert math.isnan(of_rows[EMPTY]) == (name != "masked")
        measured = ~of_rows.isnan()
        if name == "pointing":  # a mean over classes
            classes = torch.tensor([0, 1, 1, 2, 0, 0, 2, 1])
            means = [of_rows[measured & (classes == label)].mean() for label in range(3)]
            assert float(figures[figure]) == pytest.approx(float(torch.stack(means).mean()))
        else:
            assert float(figures[figure]) == pytest.approx(float(of_rows[measured].mean()))


def test_degenerate_maps_have_the_value_that_they_count_as() -> None:
    worst = {"iou": 0, "saliency/precision": 0, "saliency/mae": 1, "localization/error": 1, "pointing_game": 0}
    left_out = ("energy_in_mask", "energy_in_boxes")
    values: dict[str, Any] = {}
    for make, _ in METRICS.values():
        values |= taken(make(), slice(COUNT)).row_values
    for row in (CONSTANT, NOT_FINITE):
        assert {figure: float(values[figure][row]) for figure in worst} == worst
        assert all(values[figure][row].isnan() for figure in left_out)


def test_a_best_alpha_has_no_rows() -> None:
    assert taken(LocalizationError(), slice(COUNT)).row_values == {}


def test_curves_belong_to_their_figures() -> None:
    iou, localization, masked = (taken(METRICS[name][0](), slice(COUNT)) for name in ("iou", "localization", "masked"))
    curve = iou.curves()["iou"]
    area = sum((a + b) / 2 for a, b in zip(curve.y, curve.y[1:], strict=False))
    assert (curve.x[1], curve.x[-1], len(curve.x)) == (0.01, 1.0, 101)
    assert float(iou.compute()["iou"]) == pytest.approx(area)
    errors = localization.curves()["localization"]
    assert errors.x[1] == 0.5
    assert min(errors.y) == pytest.approx(float(localization.compute()["localization/best_error"]))
    of_gamma, figures = masked.curves(), masked.compute()
    for name, figure in (("masked_accuracy", "masked_accuracy/"), ("masked_accuracy/kept_area",) * 2):
        separator = "" if figure.endswith("/") else "_"
        expected = [float(figures[f"{figure}{separator}{gamma}"]) for gamma in (10, 50)]
        assert of_gamma[name].x == [0.1, 0.5]
        assert of_gamma[name].y == pytest.approx(expected)
    assert EnergyInMask().curves() == {}


def curves_on_rank(rank: int) -> list[list[float]]:
    """Of all rows, of which rank 0 has three."""
    found = []
    for name in ("iou", "localization", "masked"):
        metric = taken(METRICS[name][0](), slice(3, COUNT) if rank else slice(3))
        metric.compute()
        with metric.sync_context():
            found += [list(curve.y) for curve in metric.curves().values()]
    return found


def test_two_processes_have_the_curves_of_one(ranks: RankPool) -> None:
    whole = [taken(METRICS[name][0](), slice(COUNT)) for name in ("iou", "localization", "masked")]
    expected = [pytest.approx(list(curve.y)) for metric in whole for curve in metric.curves().values()]
    assert ranks.run(curves_on_rank) == [expected, expected]
