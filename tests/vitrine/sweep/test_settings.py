"""Settings of a sweep: grids, random draws, and names of folders."""

import math
from pathlib import Path
from typing import Any

import pytest

from vitrine.sweep.settings import folder_name, settings_of
from vitrine.sweep.sweep_file import SweepFile


def sweep(method: str = "grid", run_cap: int | None = None, **parameters: Any) -> SweepFile:
    return SweepFile(Path("s.yaml"), method, "val/f_reg", True, parameters, ["${args}"], "train.py", run_cap)  # noqa: FBT003


def test_a_grid_has_every_combination_in_order() -> None:
    found = settings_of(sweep(a={"values": [1, 2]}, b={"value": "x"}, c={"min": 3, "max": 4}))
    assert found == [{"a": a, "b": "x", "c": c} for a in (1, 2) for c in (3, 4)]
    assert settings_of(sweep(a={"values": [1, 2, 3]}, run_cap=2)) == [{"a": 1}, {"a": 2}]


def test_random_settings_come_from_the_seed_and_more_of_them_go_on() -> None:
    of = sweep("random", lr={"min": 0.0, "max": 1.0}, n={"values": [3, 5, 8]})
    assert len(settings_of(of)) == 10
    few, many = settings_of(of, count=3, seed=4), settings_of(of, count=30, seed=4)
    assert many[:3] == few
    assert few != settings_of(of, count=3, seed=5)
    assert {setting["n"] for setting in many} == {3, 5, 8}
    assert len({setting["lr"] for setting in many}) == 30


@pytest.mark.parametrize(
    ("parameter", "holds"),
    [
        ({"min": 2, "max": 4}, lambda value: value in {2, 3, 4}),
        ({"min": 0.5, "max": 1.5}, lambda value: 0.5 <= value <= 1.5),
        ({"distribution": "q_uniform", "min": 0, "max": 1, "q": 0.25}, lambda value: value in {0, 0.25, 0.5, 0.75, 1}),
        ({"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-1}, lambda value: 1e-4 <= value <= 1e-1),
        ({"distribution": "normal", "mu": 5.0, "sigma": 1e-3}, lambda value: abs(value - 5) < 0.1),
        ({"values": ["a", "b"], "probabilities": [0, 1]}, lambda value: value == "b"),
        ({"value": 7}, lambda value: value == 7),
    ],
)
def test_values_are_drawn_as_their_distribution_says(parameter: dict[str, Any], holds: Any) -> None:
    assert all(holds(setting["a"]) for setting in settings_of(sweep("random", a=parameter), count=40))


def test_logarithms_are_uniform() -> None:
    of = sweep("random", a={"distribution": "log_uniform_values", "min": 1e-4, "max": 1.0})
    logs = [math.log10(setting["a"]) for setting in settings_of(of, count=300)]
    assert sum(logs) / len(logs) == pytest.approx(-2, abs=0.25)


@pytest.mark.parametrize(
    ("of", "told"),
    [
        (sweep("bayes", a={"value": 1}), "bayes.*needs W&B.*--method random"),
        (sweep(a={"min": 0.0, "max": 1.0}), r"parameters.a.*\(uniform\).*no grid"),
        (sweep(a={"distribution": "beta"}), "distribution beta.*W&B's alone.*log_uniform_values"),
        (sweep(a={"parameters": {}}), "nested"),
        (sweep(a={"min": 0}), "has no max"),
        (sweep(a={"values": []}), "values.*give a list"),
        (sweep(a={"min": 5, "max": 2}), "from 5 to 2.*the smaller one as min"),
        (sweep("random", a={"distribution": "log_uniform_values", "min": 0, "max": 1}), "cannot be drawn"),
    ],
)
def test_what_cannot_be_drawn_is_told(of: SweepFile, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        settings_of(of)


def test_folders_are_named_by_what_differs_and_never_leave_theirs() -> None:
    assert folder_name({"a.beta": 0.5, "b": 1}, {"a.beta": "beta"}) == "beta=0.5"
    assert folder_name({"a": "../x y"}, {"a": "a"}) == "a=..-x-y"
    assert folder_name({"a": -1}, {"a": "a"}) == "a=-1"
    assert folder_name({"a": 1}, {}) == "run"
    long = [folder_name({"a": "x" * 300 + end}, {"a": "a"}) for end in "12"]
    assert len(set(long)) == 2
    assert max(map(len, long)) == 100
