"""The IoU curve as a metric: figures, counts, and ranks."""

import math
import pickle

import pytest
import torch
from torch import Tensor

from tests.helpers.ranks import RankPool
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.metrics import IoUCurve, metrics_for
from vitrine.metrics.functional import iou_curve, iou_curve_area


def explanation_of(maps: Tensor) -> Explanation:
    """One heatmap an image, with a contribution of 1."""
    count = len(maps)
    classes = torch.zeros(count, dtype=torch.int64)
    return Explanation(maps[:, None], torch.ones(count, 1), [["map"]] * count, classes, classes, torch.zeros(count, 2))


def rows() -> tuple[Tensor, Tensor]:
    """Nine maps and masks, of which two maps are degenerate and two images have no mask, one of them with such a map."""
    generator = torch.Generator().manual_seed(1)
    maps = torch.randn(9, 6, 8, generator=generator)
    masks = (torch.rand(9, 1, 6, 8, generator=generator) < 0.3).to(torch.uint8)
    maps[2], maps[5, 1, 1], maps[7] = 0, torch.nan, 3
    masks[4] = masks[7] = 0
    return maps, masks


def take(metric: IoUCurve, start: int, stop: int) -> IoUCurve:
    maps, masks = rows()
    metric.update(explanation_of(maps[start:stop]), Batch(mask=masks[start:stop]))
    return metric


def values(metric: IoUCurve) -> dict[str, float]:
    return {name: float(value) for name, value in metric.compute().items()}


def expected_values() -> dict[str, float]:
    maps, masks = rows()
    aggregated = explanation_of(maps).aggregate()[:, 0]
    curve = iou_curve(aggregated, masks[:, 0])
    return {
        "iou": float(iou_curve_area(aggregated, masks[:, 0])),
        "iou/best": 100 * float(curve.max()),
        "iou/degenerate": 2.0,
        "iou/skipped": 2.0,
    }


def test_figures_and_counts() -> None:
    assert values(take(IoUCurve(), 0, 9)) == pytest.approx(expected_values())


@pytest.mark.parametrize("cut", range(1, 9))
def test_two_updates_and_two_ranks_equal_one(cut: int) -> None:
    assert values(take(take(IoUCurve(), 0, cut), cut, 9)) == pytest.approx(expected_values())
    ranks = [take(IoUCurve(), 0, cut), take(IoUCurve(), cut, 9)]
    ranks[0].merge_state(ranks[1])
    assert values(ranks[0]) == pytest.approx(expected_values())


def test_states_survive_pickling_and_are_forgotten_on_reset() -> None:
    metric = take(IoUCurve(), 0, 9)
    assert values(pickle.loads(pickle.dumps(metric))) == values(metric)
    metric.reset()
    assert values(take(metric, 0, 9)) == pytest.approx(expected_values())


def test_maps_in_half_precision() -> None:
    maps, masks = rows()
    metric = IoUCurve()
    metric.update(explanation_of(maps.bfloat16()), Batch(mask=masks))
    aggregated = explanation_of(maps.bfloat16()).aggregate()[:, 0]
    assert values(metric)["iou"] == pytest.approx(float(iou_curve_area(aggregated, masks[:, 0])))


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_nothing_measured_is_not_a_number() -> None:
    assert math.isnan(values(IoUCurve())["iou"])
    assert math.isnan(values(take(IoUCurve(), 7, 8))["iou"])


def test_sets_with_masks_are_measured_by_it() -> None:
    assert "IoUCurve" in [type(metric).__name__ for metric in metrics_for({"mask"})]
    assert "IoUCurve" not in [type(metric).__name__ for metric in metrics_for({"boxes"})]


def values_after_each_cut(rank: int) -> list[dict[str, float]]:
    """Figures of two metrics: of the first, both ranks have taken rows; of the second, rank 0 has taken all."""
    found = []
    for cut in (4, 9):
        start, stop = (cut, 9) if rank else (0, cut)
        found.append(values(take(IoUCurve(), start, stop) if start < stop else IoUCurve()))
    return found


def test_two_processes_equal_one_also_where_one_has_no_batch(ranks: RankPool) -> None:
    assert ranks.run(values_after_each_cut) == [[pytest.approx(expected_values())] * 2] * 2
