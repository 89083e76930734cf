"""Axes: positions, ticks, and which are logarithmic."""

from collections.abc import Sequence

import numpy as np
import pytest

from vitrine.visualization.comparison.axes import axis_of


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ((0.0, 1.0), [0, 0.2, 0.4, 0.6, 0.8, 1]),
        ((0.03, 0.97), [0.2, 0.4, 0.6, 0.8]),
        ((-3.0, 12.0), [0, 5, 10]),
        ((0.0, 1e-7), [0, 2e-8, 4e-8, 6e-8, 8e-8, 1e-7]),
        ((5.0, 5.0), [4.6, 4.8, 5.0, 5.2, 5.4]),
    ],
)
def test_ticks_are_round_and_on_the_axis(values: Sequence[float], ticks: Sequence[float]) -> None:
    axis = axis_of(values, 10, 110)
    np.testing.assert_allclose(axis.ticks(), ticks, atol=1e-12)
    assert all(10 - 1e-6 <= axis.position(tick) <= 110 + 1e-6 for tick in axis.ticks())


def test_ends_map_to_ends() -> None:
    axis = axis_of([2.0, 4.0, 3.0], 300, 20)
    assert [axis.position(value) for value in (2, 3, 4)] == [300, 160, 20]


@pytest.mark.parametrize(
    ("values", "logarithmic"),
    [
        (np.geomspace(0.01, 100, 9), True),
        (np.linspace(0.01, 100, 9), False),
        (np.geomspace(1, 50, 9), False),
        ([0.0, *np.geomspace(0.01, 100, 9)], False),
        ([1.0], False),
    ],
)
def test_a_path_of_ratios_is_logarithmic(values: Sequence[float], logarithmic: bool) -> None:
    assert axis_of(list(values), 0, 1, may_be_logarithmic=True).logarithmic == logarithmic
    assert not axis_of(list(values), 0, 1).logarithmic


def test_a_logarithmic_axis_has_powers_of_ten() -> None:
    axis = axis_of(list(np.geomspace(0.01, 100, 9)), 0, 4, may_be_logarithmic=True)
    np.testing.assert_allclose(axis.ticks(), [0.01, 0.1, 1, 10, 100])
    np.testing.assert_allclose([axis.position(tick) for tick in axis.ticks()], [0, 1, 2, 3, 4], atol=1e-12)
