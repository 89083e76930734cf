"""The plan of an exact fit: what is kept follows from sizes and from the memory that is free."""

from dataclasses import replace

import pytest

from vitrine.explainers.mu_lasso.fit_plan import FitPlan, product_rate

IMAGENET = FitPlan(samples=1_281_167, filters=26_560, classes=1000)


@pytest.mark.parametrize(
    ("samples", "free", "sums"),
    [
        (53_120, None, True),
        (53_119, None, False),
        (53_119, 10**10, True),
        (53_119, 10**11, False),
        (100, 10**10, False),
    ],
)
def test_sums_are_kept_where_they_are_smaller_or_responses_do_not_fit(
    samples: int, free: int | None, *, sums: bool
) -> None:
    assert replace(IMAGENET, samples=samples, free=free).keeps_sums == sums


def test_imagenet_fits_in_twelve_gigabytes() -> None:
    plan = replace(IMAGENET, free=12 * 10**9)
    plan.check()
    assert 8 * 26_560**2 < plan.needed < 12 * 10**9
    with pytest.raises(ValueError, match=r"26560 filters needs .* GB a rank, and 4 GB are free; name fewer layers"):
        replace(plan, free=4 * 10**9).check()


def test_wide_responses_are_multiplied_in_float32() -> None:
    assert (IMAGENET.products, replace(IMAGENET, filters=500).products) == ("float32", "float64")


def test_what_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitrine.explainers.mu_lasso.fit_plan.product_rate", lambda _: 1e11)
    told = dict(replace(IMAGENET, ranks=8).rows())
    assert "26560 filters" in told["exact fit"]
    assert "19 min on this CPU (100 G a second)" in told["exact fit"]
    assert "125 on each rank" in told[""]
    assert "the responses are kept" in dict(replace(IMAGENET, samples=100).rows())["exact fit"]


def test_the_rate_is_measured() -> None:
    assert product_rate("float32") > 1e6
