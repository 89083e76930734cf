"""Intervals and paired differences of runs."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tests.helpers.tested_runs import Row, mean_of, random_rows
from vitrine.visualization.comparison.per_image import PerImage
from vitrine.visualization.comparison.tested_runs import RunRecord
from vitrine.visualization.comparison.uncertainty import Uncertainty, uncertainty_of


def run_of(name: str, rows: Sequence[Row], figures: Mapping[str, float] | None = None) -> RunRecord:
    names = list(dict.fromkeys(figure for _, _, values in rows for figure in values))
    values = {figure: np.array([of_row.get(figure, math.nan) for _, _, of_row in rows]) for figure in names}
    keys, targets = [key for key, _, _ in rows], [target for _, target, _ in rows]
    means = {figure: mean_of(rows, figure) for figure in names} | dict(figures or {})
    return RunRecord(Path(name), name, "D", figures=means, per_image=PerImage(keys, targets, values))


def compared(*runs: RunRecord, resamples: int = 4000, confidence: float = 0.95) -> Uncertainty:
    figures = list(dict.fromkeys(figure for run in runs for figure in run.figures))
    return uncertainty_of(runs, figures, resamples=resamples, seed=0, confidence=confidence)


def iou_rows(values: Iterable[float], first: int = 0) -> list[Row]:
    return [(f"{n:03d}", "c", {"iou": float(value)}) for n, value in enumerate(values, start=first)]


def test_a_difference_is_that_of_scipys_paired_bootstrap() -> None:
    generator = np.random.default_rng(0)
    a = generator.normal(size=60)
    b = a - 0.2 + generator.normal(scale=0.3, size=60)
    found = compared(run_of("a", iou_rows(a)), run_of("b", iou_rows(b)), resamples=20_000)
    one = found.difference("iou", "a", "b")
    outside = stats.bootstrap(
        (a, b),
        lambda x, y, axis: x.mean(axis) - y.mean(axis),
        paired=True,
        n_resamples=20_000,
        method="percentile",
        rng=1,
    ).confidence_interval
    assert one is not None
    assert one.value == pytest.approx((a - b).mean(), rel=1e-12)
    np.testing.assert_allclose((one.low, one.high), outside, atol=0.06 * (a - b).std() / np.sqrt(60))
    alone = found.intervals["iou", "a"]
    assert one.high - one.low < 0.5 * (alone[1] - alone[0])  # what the pairs share is taken out


def test_a_difference_turned_round_has_the_other_sign() -> None:
    found = compared(run_of("a", random_rows(30, 0, shift=1.0)), run_of("b", random_rows(30, 1)))
    one, other = found.difference("iou", "a", "b"), found.difference("iou", "b", "a")
    assert one is not None
    assert other is not None
    assert (other.value, other.low, other.high) == (-one.value, -one.high, -one.low)
    assert not one.within_chance
    assert found.difference("iou", "a", "a") is None
    assert found.difference("f_cls", "a", "b") is None


def test_equal_methods_differ_by_nothing() -> None:
    rows = random_rows(20, 0)
    one = compared(run_of("a", rows), run_of("b", rows)).difference("iou", "a", "b")
    assert one is not None
    assert (one.value, one.low, one.high, one.within_chance) == (0, 0, 0, True)


def test_a_difference_is_over_the_images_that_both_measured() -> None:
    a = iou_rows(np.arange(10.0))
    b = [*iou_rows(np.arange(5.0, 15.0), first=5)[:5], *iou_rows([100.0], first=20), ("009", "d", {"iou": math.nan})]
    found = compared(run_of("a", a), run_of("b", b))
    one = found.difference("iou", "a", "b")
    assert one is not None
    assert one.images == 5
    assert (one.value, one.low, one.high) == (0, 0, 0)  # equal where both are, though b has a 100 elsewhere
    assert found.intervals["iou", "b"][1] > 20


def test_classes_count_alike_in_the_pointing_game() -> None:
    """Nine hits of a common class and one miss of a rare one: 0.5 by class and 0.9 by row."""
    rows: list[Row] = [(f"{n}", "rare" if n == 9 else "common", {"pointing_game": float(n < 9)}) for n in range(10)]
    found = compared(run_of("a", rows), run_of("b", [(k, t, {"pointing_game": 1.0}) for k, t, _ in rows]))
    one = found.difference("pointing_game", "a", "b")
    assert one is not None
    assert one.value == pytest.approx(-0.5)
    assert found.intervals["pointing_game", "a"] == (0.5, 1.0)  # 1 where the rare image is not drawn


def test_values_that_are_not_those_of_the_figure_get_no_interval() -> None:
    rows = random_rows(20, 0, figures=("iou", "f_cls"))
    stale = run_of("stale", rows, {"iou": 5.0})
    rounded = run_of("rounded", rows, {"iou": mean_of(rows, "iou") * (1 + 1e-6)})
    found = compared(stale, rounded)
    assert list(found.mismatched) == [("iou", "stale")]
    assert ("iou", "stale") not in found.intervals
    assert ("iou", "rounded") in found.intervals
    assert found.difference("iou", "stale", "rounded") is None
    assert found.difference("f_cls", "stale", "rounded") is not None


def test_figures_that_were_measured_nowhere_have_no_interval() -> None:
    rows: list[Row] = [("a", "c", {"iou": math.nan, "f_cls": 1.0}), ("b", "c", {"iou": math.nan, "f_cls": 2.0})]
    found = compared(run_of("a", rows), run_of("b", rows))
    assert set(found.intervals) == {("f_cls", "a"), ("f_cls", "b")}
    assert not found.mismatched


def test_one_image_gives_no_interval() -> None:
    found = compared(run_of("a", iou_rows([1.0])), run_of("b", iou_rows([5.0])))
    one = found.difference("iou", "a", "b")
    assert one is not None
    assert one.value == -4
    assert one.within_chance
    assert math.isnan(one.low)
    assert math.isnan(found.intervals["iou", "a"][0])
