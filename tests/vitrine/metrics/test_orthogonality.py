"""Orthogonality as a metric: class by class, what is left out and counted, and over ranks."""

import math
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.helpers.ranks import RankPool
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.metrics import Orthogonality
from vitrine.metrics.functional import (
    orthogonality,
    pixel_probabilities,
)

ROOT = Path(__file__).parents[3]


def naive(maps: Tensor) -> tuple[float, float]:
    """NumPy's correlation coefficients and log determinant of the vectors end to end."""
    vectors = maps.double().transpose(0, 1).flatten(1).numpy()
    correlation = np.corrcoef(vectors)
    return float(np.linalg.norm(correlation) - np.sqrt(len(vectors))), -float(np.linalg.slogdet(correlation)[1])


NAMES = ("x-feature 1", "x-feature 2", "x-feature 3")


def explain(maps: Tensor, targets: Sequence[int], labels: Sequence[Sequence[str]] | None = None) -> Explanation:
    batch, count = maps.shape[:2]
    labels = labels or [NAMES[:count]] * batch
    return Explanation(
        heatmaps=maps,
        scores=torch.ones(batch, count),
        labels=labels,
        valid=torch.tensor([[bool(label) for label in row] for row in labels], dtype=torch.bool).reshape(batch, count),
        prediction=torch.zeros(batch, dtype=torch.int64),
        target=torch.tensor(targets, dtype=torch.int64),
        logits=torch.zeros(batch, 10),
    )


def data() -> tuple[Tensor, list[int]]:
    """Twelve images of classes 2, 4 and 9; in class 4 two x-features are alike, in class 9 one is constant."""
    maps = torch.randn(12, 3, 8, 9, generator=torch.Generator().manual_seed(0))
    targets = [2, 4, 9, 2, 2, 4, 9, 4, 2, 2, 9, 2]
    classes = torch.tensor(targets)
    maps[classes == 2, 1] += maps[classes == 2, 0]
    maps[classes == 4, 2] = 5 * maps[classes == 4, 0]
    maps[classes == 9, 1] = torch.rand(3, 1, 1, generator=torch.Generator().manual_seed(1))
    maps[3, 0] = 0
    maps[8, 1, 2, 2] = torch.nan
    return maps, targets


def take(metric: Orthogonality, start: int = 0, stop: int = 12, step: int = 12) -> Orthogonality:
    maps, targets = data()
    for first in range(start, stop, step):
        last = min(first + step, stop)
        metric.update(explain(maps[first:last], targets[first:last]), Batch())
    return metric


def values(metric: Orthogonality) -> dict[str, float]:
    return {name: float(value) for name, value in metric.compute().items()}


def by_class(metric: Orthogonality) -> dict[str, list[float]]:
    return {str(label): found.tolist() for label, found in metric.by_class().items()}


def expected_by_class() -> dict[int, tuple[float, float]]:
    maps, targets = data()
    shares = torch.stack([pixel_probabilities(image) for image in maps]).nan_to_num(0)
    classes = torch.tensor(targets)
    alike = naive(shares[classes == 4])[0]
    return {2: naive(shares[classes == 2]), 4: (alike, math.inf), 9: (math.nan, math.nan)}


def expected() -> dict[str, float]:
    each = expected_by_class()
    return {
        "orthogonality/o1": (each[2][0] + each[4][0]) / 2,
        "orthogonality/o2": each[2][1],
        "orthogonality/singular": 1.0,
        "orthogonality/undefined": 1.0,
        "orthogonality/inactive": 0.0,
        "orthogonality/degenerate": 2.0,
    }


def test_classes_are_measured_apart_and_averaged() -> None:
    metric = take(Orthogonality())
    assert values(metric) == pytest.approx(expected())
    found = metric.by_class()
    assert list(found) == [2, 4, 9]
    for label, pair in expected_by_class().items():
        assert found[label].tolist() == pytest.approx(pair, nan_ok=True)


def test_metric_and_function_are_the_same_thing() -> None:
    maps = torch.rand(5, 3, 8, 9, generator=torch.Generator().manual_seed(0))
    metric = Orthogonality()
    metric.update(explain(maps[:2], [1, 1]), Batch())
    metric.update(explain(maps[2:], [1, 1, 1]), Batch())
    shares = torch.stack([pixel_probabilities(image) for image in maps])
    assert torch.equal(metric.by_class()[1], torch.stack(orthogonality(shares)))


@pytest.mark.parametrize("step", [1, 5])
def test_batches_split_differently_give_the_same(step: int) -> None:
    assert values(take(Orthogonality(), step=step)) == values(take(Orthogonality()))


@pytest.mark.parametrize("cut", [1, 7])
def test_two_halves_merge_into_the_whole(cut: int) -> None:
    halves = [take(Orthogonality(), 0, cut), take(Orthogonality(), cut, 12)]
    halves[0].merge_state(halves[1])
    assert values(halves[0]) == pytest.approx(expected())


def test_absent_heatmaps_are_none_of_the_x_features() -> None:
    maps = torch.rand(4, 3, 8, 9, generator=torch.Generator().manual_seed(0))
    maps[:, 2] = 0
    metric = Orthogonality()
    metric.update(explain(maps, [0] * 4, [[*NAMES[:2], ""]] * 4), Batch())
    shares = torch.stack([pixel_probabilities(image[:2]) for image in maps])
    assert metric.by_class()[0].tolist() == pytest.approx(naive(shares))
    assert values(metric)["orthogonality/degenerate"] == 0


def test_an_x_feature_that_never_shows_anything_is_left_out_and_counted() -> None:
    maps = torch.rand(4, 3, 8, 9, generator=torch.Generator().manual_seed(0))
    maps[:, 2] = 0
    metric, without = Orthogonality(), Orthogonality()
    metric.update(explain(maps, [0] * 4), Batch())
    without.update(explain(maps, [0] * 4, [[*NAMES[:2], ""]] * 4), Batch())
    assert torch.equal(metric.by_class()[0], without.by_class()[0])
    assert [values(metric)["orthogonality/inactive"], values(without)["orthogonality/inactive"]] == [1, 0]
    assert values(metric)["orthogonality/undefined"] == 0


def test_an_absent_heatmap_that_holds_something_does_not_matter() -> None:
    maps = torch.rand(4, 3, 8, 9, generator=torch.Generator().manual_seed(0))
    labels = [list(NAMES), [*NAMES[:2], ""], list(NAMES), list(NAMES)]
    metric, zeroed = Orthogonality(), Orthogonality()
    metric.update(explain(maps, [0] * 4, labels), Batch())
    maps[1, 2] = 0
    zeroed.update(explain(maps, [0] * 4), Batch())
    assert torch.equal(metric.by_class()[0], zeroed.by_class()[0])
    assert [values(metric)["orthogonality/degenerate"], values(zeroed)["orthogonality/degenerate"]] == [0, 1]


@pytest.mark.parametrize("count", [1, 3])
def test_a_single_map_an_image_is_orthogonal_to_nothing(count: int) -> None:
    metric = Orthogonality()
    labels = [[NAMES[0], "", ""][:count]] * 2
    metric.update(explain(torch.rand(2, count, 5, 5), [3, 3], labels), Batch())
    assert metric.by_class()[3].isnan().tolist() == [True, True]
    assert values(metric)["orthogonality/undefined"] == 1
    assert math.isnan(values(metric)["orthogonality/o1"])


def test_where_all_is_singular_there_is_nothing_to_average() -> None:
    metric = Orthogonality()
    metric.update(explain(torch.rand(2, 1, 5, 5).repeat(1, 2, 1, 1), [3, 3]), Batch())
    found = values(metric)
    assert found["orthogonality/o1"] == pytest.approx(2 - math.sqrt(2))
    assert math.isnan(found["orthogonality/o2"])
    assert found["orthogonality/singular"] == 1


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_nothing_taken_in_is_not_a_number() -> None:
    found = values(Orthogonality())
    assert math.isnan(found["orthogonality/o1"])
    assert found["orthogonality/singular"] == found["orthogonality/undefined"] == 0
    assert Orthogonality().by_class() == {}


def test_the_state_does_not_grow_with_the_images_size() -> None:
    sizes = []
    for side in (8, 64):
        metric = Orthogonality()
        metric.update(explain(torch.rand(2, 3, side, side), [0, 1]), Batch())
        sizes.append(sum(rows.numel() for rows in metric.records))
    assert sizes == [2 * (9 + 6 + 3)] * 2


def test_states_survive_pickling_and_moves_and_reset() -> None:
    metric = take(Orthogonality())
    again = pickle.loads(pickle.dumps(metric)).to("cpu").float()
    assert values(again) == values(metric)
    assert {rows.dtype for rows in again.records} == {torch.float64}
    again.reset()
    assert values(take(again)) == values(metric)


def test_maps_in_half_precision_on_which_gradients_rest() -> None:
    maps, targets = data()
    metric = Orthogonality()
    metric.update(explain(maps.bfloat16().requires_grad_(), targets), Batch())
    assert not metric.compute()["orthogonality/o1"].requires_grad
    assert values(metric)["orthogonality/o1"] == pytest.approx(expected()["orthogonality/o1"], abs=0.02)


def figures_on_rank(rank: int, cut: int) -> list[Any]:
    """The classes', the whole's, and again the classes' figures; where the cut is at the end, rank 1 has no batch."""
    metric = Orthogonality().to("cpu")  # as a trainer does
    start, stop = (0, cut) if rank == 0 else (cut, 12)
    if start < stop:
        take(metric, start, stop)
    return [by_class(metric), values(metric), by_class(metric)]


@pytest.mark.parametrize("cut", [7, 12])
def test_two_ranks_equal_one_also_where_one_has_no_batch(ranks: RankPool, cut: int) -> None:
    rows = {str(label): pytest.approx(row, nan_ok=True) for label, row in expected_by_class().items()}
    assert ranks.run(figures_on_rank, cut) == [[rows, pytest.approx(expected()), rows]] * 2
