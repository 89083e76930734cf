"""Combinations of option values, and the names of their runs."""

from typing import Any

import pytest

from experiments.combinations import grid_points, names_over


def test_grids_are_all_combinations() -> None:
    assert grid_points({"a": [1, 2], "b": ["x", "y"]}) == [
        {"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 2, "b": "x"}, {"a": 2, "b": "y"}
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("over", "names"),
    [
        ({}, ["run"]),
        ({"a": [0.5, None], "b": ["x/y z"]}, ["run-0.5-x_y_z", "run-null-x_y_z"]),
        ({"a": [{"b": 1}, True]}, ["run-b_1", "run-true"]),
    ],
)
def test_names(over: dict[str, Any], names: list[str]) -> None:
    assert names_over("run", over) == names
