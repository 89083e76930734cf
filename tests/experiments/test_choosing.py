"""Cross-validation: which point of a grid is taken, and what is asked again."""

import json
from pathlib import Path

import pytest

from experiments.choosing import choice_of, choose, chosen_place
from experiments.planning import planned_runs
from tests.helpers.experiment_files import experiment_of, places_in

CHOICE = {"grid": {"a": [1, 2, 3]}, "figure": "val/f", "folds": 3, "set": {"epochs": 7}}


@pytest.mark.parametrize(
    ("means", "within", "place"),
    [
        ([3, 1, 1, 2], 1.0, 1),
        ([3, 1, 1, 2], 2.0, 3),
        ([0.14, 0.15, 0.2, 0.6], 1.5, 2),
        ([float("inf"), 2], 1.0, 1),
        ([float("inf"), 2, float("inf")], 1.5, 1),
        ([float("nan"), 3, 2], 1.0, 2),
        ([2, float("nan"), 9], 2.0, 0),
        ([-1, -4, -2, 1], 1.5, 1),
    ],
)
def test_which_point_is_taken(means: list[float], within: float, place: int) -> None:
    assert chosen_place(means, within) == place


def test_a_tiny_set_is_tried_with_one_value_and_two_folds(tmp_path: Path) -> None:
    experiment, places = experiment_of(tmp_path, runs={"first": {"choose": CHOICE}}), places_in(tmp_path, tiny=True)
    fits = []

    def complete(planned: object) -> Path:
        fits.append(planned)
        (tmp_path / "metrics-fit.json").write_text(json.dumps({"val/f": None if len(fits) < 2 else 0.5}))
        return tmp_path

    assert choose(experiment, planned_runs(experiment, places)[0], places, complete) == {"a": 1}
    assert len(fits) == 2
    assert not any("--epochs=7" in fit.arguments for fit in fits)  # type: ignore[attr-defined]
    assert choice_of(experiment, "first", places) == {"a": 1}
    for changed in ({"choose": CHOICE | {"folds": 4}}, {"choose": CHOICE, "set": {"b": 1}}):
        assert choice_of(experiment_of(tmp_path, runs={"first": changed}), "first", places) is None
    assert choice_of(experiment, "first", places_in(tmp_path)) is None  # not of a tiny set


def test_a_figure_that_is_not_logged(tmp_path: Path) -> None:
    experiment, places = experiment_of(tmp_path, runs={"first": {"choose": CHOICE}}), places_in(tmp_path)
    (tmp_path / "metrics-fit.json").write_text('{"val/g": 1}')
    with pytest.raises(ValueError, match=r"metrics-fit\.json has no val/f; choose by one of val/g"):
        choose(experiment, planned_runs(experiment, places)[0], places, lambda _: tmp_path)


@pytest.mark.parametrize("text", ["null", "NaN", "Infinity"])
def test_fits_that_all_diverge_choose_nothing(text: str, tmp_path: Path) -> None:
    experiment, places = experiment_of(tmp_path, runs={"first": {"choose": CHOICE}}), places_in(tmp_path)
    (tmp_path / "metrics-fit.json").write_text(f'{{"val/f": {text}}}')
    with pytest.raises(ValueError, match=r"table\.yaml: runs\.first\.choose: val/f is finite at no point of the grid"):
        choose(experiment, planned_runs(experiment, places)[0], places, lambda _: tmp_path)
    assert choice_of(experiment, "first", places) is None
