"""Comparisons: which figures, in which order, and what is marked."""

import math
from pathlib import Path

import pytest

from tests.helpers.tested_runs import random_rows, write_run
from vitrine.core.options import OptionError
from vitrine.visualization.comparison.comparison import Comparison, ComparisonOptions, read_comparison

WORST = "<b> | worst"


def test_the_best_is_marked_and_what_is_within_chance_of_it(comparison: Comparison) -> None:
    assert [comparison.mark(method, "iou") for method in comparison.methods] == ["best", "", ""]
    assert [comparison.mark(method, "localization/error") for method in comparison.methods] == ["", "chance", "best"]
    assert [comparison.mark(method, "iou/best") for method in comparison.methods] == ["", "", ""]  # no direction
    assert comparison.best("accuracy") == []  # all equal


def test_equal_best_ones_are_all_marked(tmp_path: Path) -> None:
    folders = [
        write_run(tmp_path / name, name, figures={"f_cls": value})
        for name, value in zip("abc", (1, 1, 0.5), strict=True)
    ]
    found = read_comparison([*folders, write_run(tmp_path / "d", "d", figures={"f_reg": 1.0})])
    assert found.best("f_cls") == ["a", "b"]
    assert found.best("f_reg") == []  # there is nothing that it is better than
    assert math.isnan(found.value("d", "f_cls"))
    assert math.isnan(found.interval("a", "f_cls")[0])
    assert found.mark("c", "f_cls") == ""
    assert found.notes()[0] == "Without per-image values, and so without intervals: a, b, c, d."


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        (None, ["near", "far", WORST]),
        ("iou", ["near", "far", WORST]),
        ("test/localization/error", [WORST, "far", "near"]),  # lower is better
        ("iou/best", [WORST, "far", "near"]),  # nobody knows: the largest first
        ("accuracy", ["near", "far", WORST]),
    ],
)
def test_methods_are_sorted_the_best_first(run_folders: list[Path], sort: str | None, order: list[str]) -> None:
    assert read_comparison(run_folders, ComparisonOptions(sort, resamples=1)).methods == order


def test_methods_without_a_value_come_last(tmp_path: Path) -> None:
    values = {"a": None, "b": 3.0, "c": math.nan, "d": 1.0}
    folders = [
        write_run(tmp_path / name, name, figures={} if value is None else {"f_reg": value})
        for name, value in values.items()
    ]
    assert read_comparison(folders, ComparisonOptions("f_reg")).methods == ["d", "b", "a", "c"]


def test_figures_have_the_order_of_their_groups(comparison: Comparison) -> None:
    assert list(comparison.figures) == [
        "accuracy", "iou", "localization/error", "pointing_game", "iou/best", "iou/skipped",
    ]  # fmt: skip
    assert comparison.groups() == {
        "Classifier": ["accuracy"],
        "Heatmaps and objects": ["iou", "localization/error", "pointing_game"],
        "Counts": ["iou/skipped"],
    }


def test_chosen_figures_are_all_shown(run_folders: list[Path]) -> None:
    found = read_comparison(run_folders, ComparisonOptions(figures=("test/iou*", "f_*", "loc*")[:1], resamples=2))
    assert list(found.figures) == ["iou", "iou/best", "iou/skipped"]
    assert found.groups()["Further figures"] == ["iou/best"]
    assert {figure for figure, _ in found.uncertainty.intervals} == {"iou"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (ComparisonOptions(sort="localisation/error"), r"--sort localisation/error is no figure .* localization/error"),
        (ComparisonOptions(figures=("iou", "point_game*")), r"--figures point_game\* is no figure .* pointing_game"),
    ],
)
def test_unknown_figures_are_refused_with_near_names(
    run_folders: list[Path], options: ComparisonOptions, told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        read_comparison(run_folders, options)


@pytest.mark.parametrize(("name", "value"), [("resamples", 0), ("seed", -1), ("confidence", 1.0), ("confidence", 95)])
def test_options_that_make_no_sense_are_refused(name: str, value: float) -> None:
    with pytest.raises(OptionError, match=f"{name} is {value}"):
        ComparisonOptions.from_dict({name: value})


def test_notes_tell_what_is_not_alike(tmp_path: Path) -> None:
    rows = random_rows(10, 0)
    a = write_run(tmp_path / "a", "A", rows, explain="label")
    b = write_run(tmp_path / "b", "B", rows[:6], explain="predicted")
    c = write_run(tmp_path / "c", "C", rows, explain="label", figures={"iou": 7.0})
    images, classes, intervals = read_comparison([a, b, c]).notes()
    assert "6 to 10, 6 common to all" in images
    assert "A: label; B: predicted; C: label" in classes
    assert "No intervals for iou of C" in intervals
    assert read_comparison([a]).notes() == []
