"""The localisation error as a metric: its thresholds, counts, ranks and options."""

import math
import pickle
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.box_maps import on_box, rows
from tests.helpers.ranks import RankPool
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.metrics import METRICS_BY_ANNOTATION, LocalizationError, metrics_for
from vitrine.metrics.functional import (
    LOCALIZATION_ALPHAS,
    localization_error,
)

Box = Sequence[float]


def explanation_of(maps: Tensor, target: list[int]) -> Explanation:
    count, classes = len(maps), torch.tensor(target)
    other = torch.full_like(classes, 9)  # what is predicted does not matter
    return Explanation(maps[:, None], torch.ones(count, 1), [["map"]] * count, other, classes, torch.zeros(count, 10))


SMALL, LARGE = (3, 2, 9, 5), (2, 1, 28, 19)


def haloed() -> Tensor:
    """On SMALL at a high α, on LARGE at a low one."""
    return (on_box(SMALL) * 20 + on_box(LARGE)) / 21


# Map, explained class, boxes with their classes.
ROWS: list[tuple[Tensor, int, list[tuple[tuple[int, int, int, int], int]]]] = [
    (haloed(), 1, [(SMALL, 1), (LARGE, 2)]),  # right from α = 1 on, as long as anything is on
    (haloed(), 2, [(SMALL, 1), (LARGE, 2)]),  # right below that
    (haloed(), 1, [(SMALL, 1)]),
    (on_box(SMALL), 1, [(LARGE, 1)]),  # never right
    (torch.zeros(20, 30), 2, [((0, 0, 30, 20), 2)]),
    (torch.full((20, 30), torch.nan), 2, [((0, 0, 30, 20), 2)]),
    (torch.full((20, 30), 0.3), 2, [((0, 0, 30, 20), 2)]),
    (haloed(), 3, [(SMALL, 1)]),  # no box of the class
    (torch.zeros(20, 30), 3, []),  # skipped, not degenerate
]


def take(metric: LocalizationError, taken: list[Any]) -> LocalizationError:
    maps, targets, found = zip(*taken, strict=True)
    batch = Batch(
        boxes=[rows(*[box for box, _ in pairs]) for pairs in found],
        box_labels=[torch.tensor([label for _, label in pairs], dtype=torch.int64) for pairs in found],
    )
    metric.update(explanation_of(torch.stack(maps), list(targets)), batch)
    return metric


def values(metric: LocalizationError) -> dict[str, float]:
    return {name: float(value) for name, value in metric.compute().items()}


def test_figures_and_counts() -> None:
    metric = take(LocalizationError(), ROWS)
    curve = metric.error_curve()
    assert values(metric) == pytest.approx(by_function(None))
    assert curve.tolist() == pytest.approx([errors_at(alpha) for alpha in LOCALIZATION_ALPHAS])
    assert len(set(curve.tolist())) == 2
    assert values(take(LocalizationError(alpha=0.25), ROWS)) == pytest.approx(by_function(0.25))


def errors_at(alpha: float) -> float:
    """The error by the pure function, over the boxes of each explained class."""
    maps = torch.stack([map_ for map_, _, _ in ROWS])
    boxes = [rows(*[box for box, label in pairs if label == target]) for _, target, pairs in ROWS]
    return float(localization_error(maps, boxes, alpha))


def by_function(alpha: float | None) -> dict[str, float]:
    best = min(LOCALIZATION_ALPHAS, key=errors_at)  # the first of several
    at = best if alpha is None else alpha
    return {
        "localization/error": errors_at(at),
        "localization/alpha": at,
        "localization/best_error": errors_at(best),
        "localization/best_alpha": best,
        "localization/degenerate": 3.0,
        "localization/skipped": 2.0,
    }


def test_the_lowest_alpha_wins_a_tie() -> None:
    """LARGE is on until α times the mean reaches 1 / 21; then SMALL is, to the end."""
    alpha = next(alpha for alpha in LOCALIZATION_ALPHAS if haloed().mean() * alpha >= 1 / 21)
    found = values(take(LocalizationError(), ROWS))
    assert (found["localization/best_alpha"], found["localization/best_error"]) == pytest.approx((alpha, 5 / 7))
    assert [errors_at(0), errors_at(10)] == pytest.approx([6 / 7, 5 / 7])


@pytest.mark.parametrize("cut", range(1, len(ROWS)))
def test_two_updates_and_two_ranks_equal_one(cut: int) -> None:
    assert values(take(take(LocalizationError(), ROWS[:cut]), ROWS[cut:])) == pytest.approx(by_function(None))
    ranks = [take(LocalizationError(), part) for part in (ROWS[:cut], ROWS[cut:])]
    ranks[0].merge_state(ranks[1])
    assert values(ranks[0]) == pytest.approx(by_function(None))


def values_after_each_cut(rank: int) -> list[dict[str, float]]:
    """Figures of two metrics: of the first, both ranks have taken rows; of the second, rank 0 has taken all."""
    found = []
    for cut in (3, len(ROWS)):
        part = ROWS[cut:] if rank else ROWS[:cut]
        found.append(values(take(LocalizationError(1.0), part) if part else LocalizationError(1.0)))
    return found


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_two_processes_equal_one_also_where_one_has_no_batch(ranks: RankPool) -> None:
    assert ranks.run(values_after_each_cut) == [[pytest.approx(by_function(1.0))] * 2] * 2


def test_states_survive_pickling_and_are_forgotten_on_reset() -> None:
    metric = take(LocalizationError(alpha=2.0, largest_component=True), ROWS)
    again = pickle.loads(pickle.dumps(metric))
    assert values(again) == values(metric)
    assert (again.alpha, again.largest_component) == (2, True)
    before = values(metric)
    metric.reset()
    assert values(take(metric, ROWS)) == before


def test_the_largest_component_is_an_option() -> None:
    taken = [(on_box(SMALL, (28, 18, 29, 19)), 1, [(SMALL, 1)])]
    assert values(take(LocalizationError(), taken))["localization/best_error"] == 1
    assert values(take(LocalizationError(largest_component=True), taken))["localization/best_error"] == 0


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
@pytest.mark.parametrize("alpha", [None, 2.0])
def test_nothing_taken_in_is_not_a_number(alpha: float | None) -> None:
    for metric in (LocalizationError(alpha), take(LocalizationError(alpha), ROWS[-2:])):
        found = values(metric)
        assert math.isnan(found["localization/error"])
        assert math.isnan(found["localization/best_alpha"])
        assert found["localization/alpha"] == pytest.approx(math.nan if alpha is None else alpha, nan_ok=True)
        assert found["localization/degenerate"] == 0


def test_without_box_labels_all_boxes_count() -> None:
    metric = LocalizationError()
    batch = Batch(boxes=[rows(LARGE, SMALL), rows()])
    metric.update(explanation_of(torch.stack([on_box(SMALL)] * 2), [4, 4]), batch)
    found = values(metric)
    assert (found["localization/error"], found["localization/alpha"], found["localization/skipped"]) == (0, 0, 1)


def test_sets_with_boxes_have_it() -> None:
    assert LocalizationError in METRICS_BY_ANNOTATION["boxes"]
    assert "LocalizationError" not in [type(metric).__name__ for metric in metrics_for({"mask"})]


@pytest.mark.parametrize("alpha", [math.nan, math.inf])
def test_a_wrong_alpha_is_named(alpha: float) -> None:
    with pytest.raises(ValueError, match=rf"alpha is {alpha}; give a number"):
        LocalizationError(alpha)


@pytest.mark.parametrize("alpha", [None, 2.25])
def test_errors_of_single_images_at_every_alpha(alpha: float | None) -> None:
    """Their means are the curve; an image without a box of its class has none."""
    assert not take(LocalizationError(), ROWS).row_values
    metric = take(LocalizationError(alpha, every_alpha=True), ROWS)
    errors = {name: values for name, values in metric.row_values.items() if name != "localization/error"}
    assert list(errors) == [f"localization/error/{of:g}" for of in LOCALIZATION_ALPHAS]
    assert [values.nanmean().item() for values in errors.values()] == pytest.approx(metric.error_curve().tolist())
    assert all(values.isnan().tolist() == [False] * 7 + [True] * 2 for values in errors.values())
    assert ("localization/error" in metric.row_values) == (alpha is not None)
    single = take(LocalizationError(1.5), ROWS).row_values["localization/error"]
    assert errors["localization/error/1.5"].nan_to_num(9).tolist() == single.nan_to_num(9).tolist()
