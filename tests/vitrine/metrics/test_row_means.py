"""RowMeans: what all measures of heatmaps share: rows, counts, ranks, batches, curves and pickles."""

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.pixel_curves import small_network
from tests.helpers.ranks import RankPool
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.metrics import (
    Complexity,
    Infidelity,
    InfidelityOptions,
    InsertionDeletion,
    MaxSensitivity,
    MaxSensitivityOptions,
    ParameterRandomization,
    PixelFlipping,
    PixelFlippingOptions,
    Road,
    RoadOptions,
    Sparseness,
)
from vitrine.metrics.row_means import MapRows, RowFigures, RowMeans

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randn(6, 3, 4, 5, generator=GENERATOR)
MAPS = torch.randn(6, 4, 5, generator=GENERATOR)
MAPS[1], MAPS[4, 2, 2] = 0.5, torch.nan
TARGETS = torch.tensor([0, 1, 2, 1, 0, 2])
KEYS = list("abcdef")
MODEL = small_network().eval()


def explanation_of(maps: Tensor, targets: Tensor, *, multi_label: bool = False) -> Explanation:
    count = len(maps)
    ones, logits = torch.ones(count, 1), torch.zeros(count, 3)
    return Explanation(maps[:, None], ones, [["map"]] * count, targets, targets, logits, multi_label=multi_label)


def explain(images: Tensor, targets: Tensor) -> Explanation:
    return explanation_of(images[:, 0] * (targets[:, None, None] + 1), targets)


def explain_otherwise(images: Tensor, targets: Tensor) -> Explanation:
    return explanation_of(images[:, 1] - images[:, 2].square(), targets)


MAKERS: dict[str, Callable[[], RowMeans]] = {
    "insertion_deletion": lambda: InsertionDeletion(MODEL, 3, 1.0),
    "infidelity": lambda: Infidelity(MODEL, InfidelityOptions(num_samples=4, size=2)),
    "infidelity of noise": lambda: Infidelity(MODEL, InfidelityOptions(4, "gaussian", normalize=False)),
    "max_sensitivity": lambda: MaxSensitivity(explain, MaxSensitivityOptions(num_samples=2)),
    "road": lambda: Road(MODEL, RoadOptions(shares=(0.2, 0.5), noise=0.3)),
    "pixel_flipping": lambda: PixelFlipping(MODEL, PixelFlippingOptions(3, 2, 0.5)),
    "sparseness": Sparseness,
    "complexity": Complexity,
    "parameter_randomization": lambda: ParameterRandomization([explain_otherwise, explain]),
}


def take(metric: RowMeans, rows: slice, *, multi_label: bool = False) -> dict[str, Tensor]:
    explanation = explanation_of(MAPS[rows], TARGETS[rows], multi_label=multi_label)
    metric.update(explanation, Batch(image=IMAGES[rows], key=KEYS[rows]))
    return dict(metric.row_values)


def values(metric: RowMeans) -> dict[str, float]:
    return {name: float(value) for name, value in metric.compute().items()}


@pytest.mark.parametrize("name", MAKERS)
def test_rows_do_not_depend_on_their_batch_and_their_mean_is_the_figure(name: str) -> None:
    whole = MAKERS[name]()
    rows = take(whole, slice(0, 6))
    single = [take(MAKERS[name](), slice(row, row + 1)) for row in range(6)]
    figures = values(whole)
    assert figures.pop(f"{name.partition(' ')[0]}/degenerate") == 2
    assert set(rows) == set(figures)
    for figure, of_rows in rows.items():
        assert of_rows.dtype == torch.float64
        assert of_rows.isnan().tolist() == [False, True, False, False, True, False]
        torch.testing.assert_close(
            of_rows, torch.cat([one[figure] for one in single]), equal_nan=True, rtol=1e-4, atol=1e-6
        )
        assert figures[figure] == pytest.approx(float(of_rows.nanmean()), rel=1e-6)
        assert float(of_rows[[0, 2, 3, 5]].std()) > 0


@pytest.mark.parametrize("name", MAKERS)
def test_curves_are_means_over_rows_that_add_up(name: str) -> None:
    whole, parts = MAKERS[name](), MAKERS[name]()
    take(whole, slice(0, 6))
    for rows in (slice(0, 2), slice(2, 6)):
        take(parts, rows)
    assert values(parts) == pytest.approx(values(whole), rel=1e-4)
    assert len(whole.curves()) == {"insertion_deletion": 2, "road": 2, "pixel_flipping": 1}.get(name, 0)
    for curve_name, curve in whole.curves().items():
        assert len(curve.x) == len(curve.y)
        assert list(curve.x) == sorted(curve.x)
        assert all(0 <= y <= 1 for y in curve.y)
        assert parts.curves()[curve_name].y == pytest.approx(curve.y, rel=1e-4)


def figures_on_rank(rank: int, cut: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for maker in MAKERS.values():
        metric = maker()
        rows = slice(0, cut) if rank == 0 else slice(cut, 6)
        if rows.start < rows.stop:
            take(metric, rows)
        found |= values(metric)
        with metric.sync_context():
            found |= {name: list(curve.y) for name, curve in metric.curves().items()}
    return found


@pytest.mark.parametrize("cut", [3, 6])
def test_two_ranks_equal_one_also_where_one_has_no_batch(ranks: RankPool, cut: int) -> None:
    whole = figures_on_rank(0, 6)
    for found in ranks.run(figures_on_rank, cut):
        assert set(found) == set(whole)
        for name, value in whole.items():
            assert found[name] == pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize("name", MAKERS)
def test_a_pickled_metric_keeps_its_figures_and_leaves_networks_behind(name: str) -> None:
    metric = MAKERS[name]()
    take(metric, slice(0, 6))
    assert not list(metric.parameters())
    again = pickle.loads(pickle.dumps(metric))
    assert values(again) == values(metric)
    if name not in {"sparseness", "complexity"}:
        with pytest.raises(ValueError, match=r"A pickled .* has no (network|explainer) any more"):
            take(again, slice(0, 2))
    copied = copy.deepcopy(metric)
    take(copied, slice(0, 6))
    assert copied.measured == 8


@pytest.mark.parametrize("name", MAKERS)
def test_several_labels_an_image_count_by_sigmoids(name: str) -> None:
    single, several = MAKERS[name](), MAKERS[name]()
    take(single, slice(0, 1))
    take(several, slice(0, 1), multi_label=True)
    reads_probabilities = name in {"insertion_deletion", "road", "pixel_flipping"}
    assert (values(single) == values(several)) != reads_probabilities


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
@pytest.mark.parametrize("name", MAKERS)
def test_nothing_measured_is_not_a_number(name: str) -> None:
    metric = MAKERS[name]()
    take(metric, slice(1, 2))
    figures = values(metric)
    assert figures.pop(f"{name.partition(' ')[0]}/degenerate") == 1
    assert all(math.isnan(value) for value in figures.values())


@pytest.mark.parametrize("name", [name for name in MAKERS if name not in {"sparseness", "complexity"}])
def test_other_images_than_maps_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="2 images and 1 maps; give one map an image"):
        MAKERS[name]().update(explanation_of(MAPS[:1], TARGETS[:1]), Batch(image=IMAGES[:2], key=KEYS[:2]))


def test_a_row_whose_value_is_not_finite_is_left_out_and_counted() -> None:
    class Infinite(RowMeans):
        def __init__(self) -> None:
            super().__init__(["infinite", "infinite/other"])

        def measure(self, rows: MapRows) -> RowFigures:
            ones = torch.ones(len(rows.maps))
            return RowFigures(
                {"infinite": ones.index_fill(0, torch.tensor([1]), torch.inf), "infinite/other": 3 * ones}
            )

    metric = Infinite()
    assert take(metric, slice(0, 6))["infinite/other"].isnan().tolist() == [False, True, True, False, True, False]
    assert values(metric) == {"infinite": 1, "infinite/other": 3, "infinite/degenerate": 3}
