"""The common scale of the heatmaps of an image."""

import math

import pytest

from vitrine.visualization.scale import blur_note, shares


def test_shares_are_of_the_largest_absolute_score() -> None:
    assert shares([0.5, -2.0, 0.0]) == [0.25, 1.0, 0.0]
    assert shares([0.01, 0.59]) == pytest.approx([0.01 / 0.59, 1.0])


def test_each_its_own_and_scores_that_compare_nothing() -> None:
    assert shares([0.5, -2.0], "own") == [1.0, 1.0]
    assert shares([0.0, 0.0]) == [1.0, 1.0]
    assert shares([math.nan, 2.0, math.inf]) == [1.0, 1.0, 1.0]
    assert shares([]) == []


def test_the_blur_is_named() -> None:
    assert blur_note(None) == "blurred for display, Gaussian of 2 % of the longer side"
    assert blur_note(3.0) == "blurred for display, Gaussian of 3 px"
    assert not blur_note(0)
