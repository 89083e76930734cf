"""Insertion and deletion as a metric: mean areas, counts, ranks, and a network that stays out of pickles."""

import copy
import math
import pickle

import pytest
import torch
from torch import Tensor

from tests.helpers.pixel_curves import IMAGES, MAPS, PIXELS, SIZE, linear, small_network
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.metrics import InsertionDeletion
from vitrine.metrics.functional import (
    curve_area,
    deletion_curve,
    insertion_curve,
)


def explanation_of(maps: Tensor, target: Tensor) -> Explanation:
    count = len(maps)
    other = torch.full_like(target, 1)  # what is predicted does not matter
    return Explanation(maps[:, None], torch.ones(count, 1), [["map"]] * count, other, target, torch.zeros(count, 2))


POSITIVE = MAPS + 0.6  # the aggregate weighs by scale, not by place


ALL_MAPS = torch.cat([POSITIVE, torch.zeros(1, *SIZE), torch.full((1, *SIZE), torch.nan).double()])


ALL_IMAGES = torch.cat([IMAGES, IMAGES[:2]])


TARGETS = torch.tensor([0, 1, 0, 0, 0])


def take(metric: InsertionDeletion, rows: slice) -> InsertionDeletion:
    metric.update(explanation_of(ALL_MAPS[rows], TARGETS[rows]), Batch(image=ALL_IMAGES[rows]))
    return metric


def values(metric: InsertionDeletion) -> dict[str, float]:
    return {name: float(value) for name, value in metric.compute().items()}


def expected() -> dict[str, float]:
    inserted = insertion_curve(linear, IMAGES, MAPS, TARGETS[:3], 6, 1.5)
    deleted = deletion_curve(linear, IMAGES, MAPS, TARGETS[:3], 6)
    return {
        "insertion_deletion/insertion_auc": float(curve_area(inserted, PIXELS).mean()),
        "insertion_deletion/deletion_auc": float(curve_area(deleted, PIXELS).mean()),
        "insertion_deletion/degenerate": 2.0,
    }


def test_mean_areas_and_counts() -> None:
    assert values(take(InsertionDeletion(linear, 6, 1.5), slice(0, 5))) == pytest.approx(expected())


@pytest.mark.parametrize("cut", range(1, 5))
def test_two_updates_and_two_ranks_equal_one(cut: int) -> None:
    metric = take(take(InsertionDeletion(linear, 6, 1.5), slice(0, cut)), slice(cut, 5))
    assert values(metric) == pytest.approx(expected())
    ranks = [take(InsertionDeletion(linear, 6, 1.5), part) for part in (slice(0, cut), slice(cut, 5))]
    ranks[0].merge_state(ranks[1])
    assert values(ranks[0]) == pytest.approx(expected())


def test_a_pickled_metric_keeps_its_figures_and_leaves_its_network_behind() -> None:
    metric = take(InsertionDeletion(small_network().double(), 6), slice(0, 5))
    assert not list(metric.parameters())
    again = pickle.loads(pickle.dumps(metric))
    assert values(again) == values(metric)
    with pytest.raises(ValueError, match="pickled InsertionDeletion has no network any more"):
        take(again, slice(0, 2))
    assert values(take(copy.deepcopy(metric), slice(0, 5))) == pytest.approx(
        values(metric) | {"insertion_deletion/degenerate": 4}
    )


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_only_degenerate_maps_are_not_a_number() -> None:
    found = values(take(InsertionDeletion(linear, 6), slice(3, 5)))
    assert math.isnan(found["insertion_deletion/insertion_auc"])
    assert math.isnan(found["insertion_deletion/deletion_auc"])
    assert found["insertion_deletion/degenerate"] == 2
