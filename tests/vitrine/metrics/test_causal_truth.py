"""Causal truth: 1 for a map of the true drops, 0 for random ones, whatever the parts' sizes; counts, ranks, pickles."""

import math
import pickle

import pytest
import torch
from torch import Tensor

from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.metrics import CausalTruth

SIZE, PARTS = 12, 5
DROPS = torch.tensor([3.0, -1.0, 0.5, 2.0, 0.0])
WIDTHS = (1, 4, 2, 3, 1)
"""Columns of each part; one more belongs to none."""


def part_map() -> Tensor:
    columns = torch.tensor([part + 1 for part, width in enumerate(WIDTHS) for _ in range(width)] + [0])
    return columns.expand(SIZE, SIZE)


def classify(images: Tensor) -> Tensor:
    """Logit 0 counts each part's share of pixels that are on by its drop; logit 1 takes no notice."""
    on = torch.stack([images[:, 0][:, part_map() == part + 1].mean(dim=1) for part in range(PARTS)], dim=1)
    logit = on @ DROPS
    return torch.stack([logit, torch.ones_like(logit)], dim=1)


def batch_of(count: int, objects: Tensor | None = None) -> Batch:
    image = torch.ones(count, 3, SIZE, SIZE)
    without = torch.stack([image * (part_map() != part + 1) for part in range(PARTS)], dim=1)
    parts = part_map().expand(count, 1, SIZE, SIZE) if objects is None else objects
    return Batch(image=image, counterfactuals=without, objects=parts)


def explanation_of(maps: Tensor, target: int = 0) -> Explanation:
    count, classes = len(maps), torch.full((len(maps),), target)
    return Explanation(maps[:, None], torch.ones(count, 1), [["map"]] * count, classes, classes, torch.zeros(count, 2))


def oracle() -> Tensor:
    """(1, H, W): the true drop on each pixel of a part."""
    return torch.cat([torch.zeros(1), DROPS])[part_map()][None]


def values(metric: CausalTruth) -> dict[str, float]:
    return {name: float(value) for name, value in metric.compute().items()}


def measured(maps: Tensor, target: int = 0, **options: str | float) -> dict[str, float]:
    metric = CausalTruth(classify, **options)  # type: ignore[arg-type]
    metric.update(explanation_of(maps, target), batch_of(len(maps)))
    return values(metric)


def test_an_oracle_scores_1_and_its_reverse_minus_1() -> None:
    assert measured(oracle())["causal_truth"] == 1
    assert measured(-oracle())["causal_truth"] == -1
    assert measured(oracle())["causal_truth/mass"] == pytest.approx(1)  # the part of -1 has no positive mass


def test_random_maps_score_0_on_average_and_their_sums_the_correlation_with_area() -> None:
    noise = torch.rand(2000, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    assert abs(measured(noise)["causal_truth"]) < 0.03  # a standard error of 0.5 / √2000 = 0.011
    area = torch.tensor([1.5, 5.0, 3.0, 4.0, 1.5])  # ranks of the widths, and of the drops
    ranks = torch.tensor([5.0, 1.0, 3.0, 4.0, 2.0])
    expected = float(torch.corrcoef(torch.stack([area, ranks]))[0, 1])
    assert measured(1000 + noise[:50], reduction="sum")["causal_truth"] == pytest.approx(expected, abs=0.06)


def test_mass_is_the_share_of_the_positive_map_on_parts_that_matter() -> None:
    sloped = torch.arange(1.0, SIZE + 1)[None, :, None].expand(
        1, SIZE, SIZE
    )  # alike in all columns, of which parts are made
    assert measured(sloped, threshold=0.1)["causal_truth/mass"] == pytest.approx((1 + 2 + 3) / SIZE)
    assert measured(sloped, threshold=0.5)["causal_truth/mass"] == pytest.approx((1 + 3) / SIZE)
    assert measured(sloped, threshold=0.0)["causal_truth/mass"] == pytest.approx(
        (1 + 2 + 3) / SIZE
    )  # none without a drop


@pytest.mark.parametrize("jitter", [0.0, 1e-8])
def test_a_constant_map_has_no_mass_and_no_order(jitter: float) -> None:
    """Also one that differs by rounding alone, in the order of the drops or any other."""
    found = measured(1 + jitter * oracle())
    assert math.isnan(found["causal_truth/mass"])
    assert (found["causal_truth"], found["causal_truth/degenerate"]) == (0, 1)


def test_degenerate_maps_score_0_and_images_without_a_difference_are_skipped() -> None:
    maps = torch.cat([oracle(), torch.ones(1, SIZE, SIZE), torch.zeros(1, SIZE, SIZE), oracle() * torch.nan])
    metric = CausalTruth(classify)
    metric.update(explanation_of(maps), batch_of(4))
    assert metric.row_values["causal_truth"].tolist() == [1, 0, 0, 0]
    assert metric.row_values["causal_truth"].dtype == torch.float64
    metric.update(explanation_of(oracle(), target=1), batch_of(1))  # no part moves that logit
    assert math.isnan(metric.row_values["causal_truth"][0])
    metric.update(explanation_of(oracle()), batch_of(1, (part_map() == 1).long()[None, None]))  # one part is seen
    assert math.isnan(metric.row_values["causal_truth"][0])
    found = values(metric)
    assert found["causal_truth"] == 0.25
    assert (found["causal_truth/degenerate"], found["causal_truth/skipped"]) == (3, 2)


def test_hidden_parts_are_left_out() -> None:
    seen = part_map().clone()
    seen[seen == 2] = 0  # the part of the lowest drop is not seen, though the map says the opposite of it
    maps = oracle().masked_fill(part_map() == 2, 100.0)
    metric = CausalTruth(classify)
    metric.update(explanation_of(maps), batch_of(1, seen[None, None]))
    assert values(metric)["causal_truth"] == 1


def test_two_updates_and_two_ranks_equal_one_and_rows_their_mean() -> None:
    maps = torch.rand(7, SIZE, SIZE, generator=torch.Generator().manual_seed(3))
    expected = measured(maps)
    rows, metrics = [], [CausalTruth(classify), CausalTruth(classify)]
    for metric, part in zip(metrics, (slice(0, 3), slice(3, 7)), strict=True):
        metric.update(explanation_of(maps[part]), batch_of(len(maps[part])))
        rows.append(metric.row_values["causal_truth"])
    assert float(torch.cat(rows).mean()) == pytest.approx(expected["causal_truth"])
    metrics[0].merge_state(metrics[1])
    assert values(metrics[0]) == pytest.approx(expected)


def test_a_pickled_metric_leaves_its_network_behind() -> None:
    metric = CausalTruth(classify)
    metric.update(explanation_of(oracle()), batch_of(1))
    again = pickle.loads(pickle.dumps(metric))
    assert values(again) == values(metric)
    with pytest.raises(ValueError, match="pickled CausalTruth has no network any more"):
        again.update(explanation_of(oracle()), batch_of(1))


@pytest.mark.parametrize("missing", ["image", "objects", "counterfactuals"])
def test_a_batch_without_an_annotation_is_named(missing: str) -> None:
    batch = batch_of(1)
    del batch[missing]  # type: ignore[misc]
    with pytest.raises(ValueError, match=f"has no '{missing}'"):
        CausalTruth(classify).update(explanation_of(oracle()), batch)


@pytest.mark.parametrize(
    ("options", "told"), [({"reduction": "max"}, "reduction is 'max'"), ({"threshold": 2.0}, "2.0")]
)
def test_wrong_options(options: dict[str, str | float], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        CausalTruth(classify, **options)  # type: ignore[arg-type]
