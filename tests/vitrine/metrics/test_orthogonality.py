"""Correlations between heatmaps: closed forms, numpy's, class by class, and over ranks."""

import math
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.helpers.ranks import RankPool
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.metrics import Orthogonality
from vitrine.metrics.functional import (
    map_moments,
    orthogonality,
    orthogonality_of_moments,
    pixel_probabilities,
    pooled_moments,
)

ROOT = Path(__file__).parents[3]


def naive(maps: Tensor) -> tuple[float, float]:
    """NumPy's correlation coefficients and log determinant of the vectors end to end."""
    vectors = maps.double().transpose(0, 1).flatten(1).numpy()
    correlation = np.corrcoef(vectors)
    return float(np.linalg.norm(correlation) - np.sqrt(len(vectors))), -float(np.linalg.slogdet(correlation)[1])


def floats(pair: Sequence[Tensor]) -> list[float]:
    return [float(value) for value in pair]


# The function


@given(
    seed=st.integers(0, 999),
    images=st.integers(1, 4),
    features=st.integers(2, 6),
    offset=st.sampled_from([0.0, 1.0, -300.0]),
    scale=st.sampled_from([1e-12, 1.0, 1e9]),
)
def test_it_is_numpys(seed: int, images: int, features: int, offset: float, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(features, features, generator=generator).double()
    maps = torch.randn(images, features, 4, 5, generator=generator).double()
    maps = scale * (torch.einsum("kl,mlhw->mkhw", mixed, maps) + offset)
    assert floats(orthogonality(maps)) == pytest.approx(naive(maps), rel=1e-6, abs=1e-9)


def test_uncorrelated_maps_are_0_and_0() -> None:
    maps = torch.tensor([[1.0, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]]).reshape(1, 3, 2, 2)
    for shifted in (maps, 7 * maps + 0.3, maps.repeat(5, 1, 1, 1)):
        assert floats(orthogonality(shifted)) == pytest.approx([0, 0], abs=1e-12)


@pytest.mark.parametrize("n", [2, 5])
def test_identical_maps_are_as_bad_as_can_be(n: int) -> None:
    one = torch.randn(3, 1, 50, 60, generator=torch.Generator().manual_seed(n))
    o1, o2 = orthogonality(one.repeat(1, n, 1, 1))
    assert float(o1) == pytest.approx(n - math.sqrt(n), abs=1e-12)
    assert o2 == torch.inf
    factors = torch.arange(1.0, n + 1)[:, None, None] / 3
    opposite = torch.where(torch.arange(n)[:, None, None] % 2 == 0, 1.0, -1.0)
    o1, o2 = orthogonality(opposite * factors.double() * one.double() + factors)
    assert float(o1) == pytest.approx(n - math.sqrt(n), abs=1e-12)
    assert o2 == torch.inf


def test_maps_that_depend_linearly_on_others_are_singular() -> None:
    maps = torch.randn(40, 5, 30, 30, generator=torch.Generator().manual_seed(0)).double()
    maps[:, 4] = 2 * maps[:, 0] - maps[:, 1] + 0.1 * maps[:, 3] + 5
    assert orthogonality(maps)[1] == torch.inf
    assert orthogonality(1e-6 * maps)[1] == torch.inf
    few = torch.rand(1, 5, 2, 2).double()  # four pixels span three dimensions about their mean
    assert orthogonality(few)[1] == torch.inf


def test_two_correlated_maps_in_closed_form() -> None:
    first, second = torch.tensor([1.0, 1, -1, -1]).double(), torch.tensor([1.0, -1, 1, -1]).double()
    for rho in (0.5, -0.9, 1 - 1e-9):
        other = rho * first + math.sqrt((1 - rho) * (1 + rho)) * second
        o1, o2 = orthogonality(torch.stack([first, other]).reshape(1, 2, 2, 2))
        assert float(o1) == pytest.approx(math.sqrt(2 + 2 * rho**2) - math.sqrt(2))
        assert float(o2) == pytest.approx(-math.log((1 - rho) * (1 + rho)), rel=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.1, -3e7, 1e-30, torch.nan, torch.inf])
def test_an_x_feature_without_variance_is_undefined(value: float) -> None:
    maps = torch.randn(7, 3, 33, 47, generator=torch.Generator().manual_seed(0)).double()
    maps[:, 1] = value
    assert np.isnan(floats(orthogonality(maps))).all()


def test_one_image_that_differs_is_variance_enough() -> None:
    maps = torch.randn(7, 2, 9, 9, generator=torch.Generator().manual_seed(0))
    maps[:, 1] = 1
    maps[3, 1] = 2
    assert floats(orthogonality(maps)) == pytest.approx(naive(maps))


def test_a_single_x_feature_is_orthogonal() -> None:
    assert floats(orthogonality(torch.rand(3, 1, 4, 4))) == [0, 0]


def test_a_large_mean_does_not_drown_the_covariance() -> None:
    maps = torch.randn(4, 3, 20, 20, generator=torch.Generator().manual_seed(0)).double()
    assert floats(orthogonality(maps + 1e8)) == pytest.approx(floats(orthogonality(maps)), abs=1e-6)


def test_moments_of_images_of_different_sizes() -> None:
    generator = torch.Generator().manual_seed(0)
    images = [torch.randn(1, 3, *size, generator=generator) for size in ((4, 5), (7, 3), (1, 2))]
    each = [map_moments(image) for image in images]
    whole = pooled_moments(type(each[0])(*(torch.cat(values) for values in zip(*each, strict=True))))
    vectors = torch.cat([image[0].flatten(1) for image in images], dim=1).double()
    torch.testing.assert_close(whole.mean, vectors.mean(dim=1))
    torch.testing.assert_close(whole.scatter / whole.pixels, torch.cov(vectors, correction=0))
    assert floats(orthogonality_of_moments(whole)) == pytest.approx(naive(vectors[None, :, None]))


# The metric

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
