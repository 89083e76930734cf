"""Resampled means: against a naive loop, scipy's bootstrap, and closed forms."""

import numpy as np
import pytest
from scipy import stats

from vitrine.visualization.comparison import bootstrap
from vitrine.visualization.comparison.bootstrap import Rows, bootstrap_means, percentile_interval, weighted_means

RNG = np.random.default_rng(3)
IMAGES = 7
IMAGE = np.array([0, 0, 0, 1, 2, 2, 4, 5, 6, 6])  # image 3 has no row
GROUP = np.array([0, 1, 1, 0, 2, 0, 1, 2, 2, 0])
VALUE = RNG.normal(size=len(IMAGE))


def naive_mean(drawn: list[int], group: "np.ndarray | None") -> float:
    """The mean over the rows of drawn images, each as often as its image was drawn; over classes where there are some."""
    by_class: dict[int, list[float]] = {}
    for image in drawn:
        for row in np.flatnonzero(image == IMAGE):
            by_class.setdefault(0 if group is None else int(group[row]), []).append(float(VALUE[row]))
    return float(np.mean([np.mean(values) for values in by_class.values()])) if by_class else np.nan


@pytest.mark.parametrize("group", [None, GROUP])
def test_means_equal_a_naive_loop(group: "np.ndarray | None") -> None:
    draws = [RNG.integers(IMAGES, size=IMAGES).tolist() for _ in range(60)] + [[3] * IMAGES, [1] * IMAGES]
    weights = np.stack([np.bincount(drawn, minlength=IMAGES) for drawn in draws]).astype(float)
    found = weighted_means([Rows(IMAGE, VALUE, group)], weights)[:, 0]
    np.testing.assert_allclose(found, [naive_mean(drawn, group) for drawn in draws], rtol=1e-12)
    assert np.isnan(found[-2])


def test_columns_of_both_kinds_see_the_same_draws() -> None:
    columns = [Rows(IMAGE, VALUE), Rows(IMAGE, VALUE, np.zeros_like(GROUP)), Rows(IMAGE, 2 * VALUE + 1)]
    means = bootstrap_means(columns, IMAGES, resamples=200, seed=0)
    np.testing.assert_allclose(means[:, 1], means[:, 0], rtol=1e-12)
    np.testing.assert_allclose(means[:, 2], 2 * means[:, 0] + 1, rtol=1e-12)
    assert len(np.unique(means[:, 0])) > 150


def test_draws_depend_on_the_seed_and_not_on_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    def means(seed: int) -> "np.ndarray":
        return bootstrap_means([Rows(IMAGE, VALUE)], IMAGES, resamples=50, seed=seed)

    whole = means(0)
    assert not np.array_equal(means(1), whole)
    monkeypatch.setattr(bootstrap, "CHUNK", 3 * IMAGES)
    np.testing.assert_allclose(means(0), whole, rtol=1e-13)
    assert means(0).shape == (50, 1)


def test_each_image_is_drawn_once_on_average() -> None:
    shares = bootstrap_means([Rows(np.arange(4), np.eye(4)[n]) for n in range(4)], 4, resamples=4000, seed=0)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(shares.mean(axis=0), 0.25, atol=0.015)
    assert shares[:, 0].var() == pytest.approx(0.25 * 0.75 / 4, rel=0.1)  # of a binomial share


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_intervals_are_those_of_scipy(confidence: float) -> None:
    values = RNG.gamma(2.0, size=80)
    means = bootstrap_means([Rows(np.arange(80), values)], 80, resamples=20_000, seed=0)[:, 0]
    outside = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, confidence_level=confidence, method="percentile", rng=1
    ).confidence_interval
    spread = values.std() / np.sqrt(80)
    np.testing.assert_allclose(percentile_interval(means, confidence), outside, atol=0.06 * spread)


def test_intervals_of_clusters_are_wider_than_those_of_single_rows() -> None:
    """Ten equal rows of each of 30 images are 30 values, not 300: the interval is that of the images."""
    values = RNG.normal(size=30)
    rows = Rows(np.repeat(np.arange(30), 10), np.repeat(values, 10))
    alone = bootstrap_means([Rows(np.arange(30), values)], 30, resamples=500, seed=0)
    np.testing.assert_allclose(bootstrap_means([rows], 30, resamples=500, seed=0), alone, rtol=1e-10)


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Of 300 samples of a normal mean, 0.9 intervals miss it in about 10 %; the standard error of that share is 1.7 %."""
    hits = 0
    for sample in RNG.normal(size=(300, 60)):
        means = bootstrap_means([Rows(np.arange(60), sample)], 60, resamples=300, seed=0)
        low, high = percentile_interval(means[:, 0], 0.9)
        hits += low <= 0 <= high
    assert 0.84 < hits / 300 < 0.95


def test_resamples_without_a_value_are_left_out() -> None:
    assert percentile_interval(np.array([np.nan, *np.arange(101.0)]), 0.5) == (25.0, 75.0)
    assert np.isnan(percentile_interval(np.array([np.nan]), 0.9)).all()
