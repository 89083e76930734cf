"""Tested runs: which folders are read, how they are named, and what is refused."""

import json
import math
from pathlib import Path

import pytest

from tests.helpers.tested_runs import random_rows, write_run
from vitrine.visualization.comparison.tested_runs import RunCurve, read_runs

ROWS = random_rows(4, seed=0)


def names(*folders: Path) -> list[str]:
    return [run.name for run in read_runs(folders)]


def test_what_a_test_wrote_is_read(tmp_path: Path) -> None:
    curve = {"x": [0, 0.5], "y": [1, None], "x_label": "α", "y_label": "error"}
    folder = write_run(
        tmp_path / "a", "GradCAM", ROWS, figures={"f_cls": math.nan}, curves={"alpha": curve}, settings={"layer": 4}
    )
    (run,) = read_runs([folder])
    assert (run.name, run.data, run.explain, run.settings) == ("GradCAM", "FlowerDataModule", "label", {"layer": "4"})
    assert run.figures["iou"] == pytest.approx(sum(values["iou"] for _, _, values in ROWS) / 4)
    assert math.isnan(run.figures["f_cls"])
    assert run.curves["alpha"].x == [0, 0.5]
    assert run.curves["alpha"].y[0] == 1
    assert math.isnan(run.curves["alpha"].y[1])
    assert isinstance(run.curves["alpha"], RunCurve)
    assert list(run.per_image.keys) == [key for key, _, _ in ROWS]


def test_a_run_with_explainers_stands_for_all_in_it(tmp_path: Path) -> None:
    for name in ("LRP", "CAM"):
        write_run(tmp_path / "run" / "explainers" / name, name, ROWS)
    (tmp_path / "run" / "explainers" / ".partial").mkdir()
    write_run(tmp_path / "other", "SRAE", ROWS)
    assert names(tmp_path / "run", tmp_path / "other") == ["CAM", "LRP", "SRAE"]


def test_a_folder_that_is_given_twice_is_read_once(tmp_path: Path) -> None:
    write_run(tmp_path / "run" / "explainers" / "CAM", "CAM", ROWS)
    (tmp_path / "link").symlink_to(tmp_path / "run")
    assert names(tmp_path / "run", tmp_path / "link", tmp_path / "run" / "explainers" / "CAM") == ["CAM"]


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for folder in ("a", "b/x", "c/x"):
        write_run(tmp_path / folder, "SRAE", ROWS)
    for folder in ("d", "e"):
        write_run(tmp_path / folder / "explainers" / "CAM", "CAM", ROWS)
    write_run(tmp_path / "f", "LRP", ROWS)
    assert names(tmp_path / "a", tmp_path / "b/x", tmp_path / "f") == ["SRAE (a)", "SRAE (x)", "LRP"]
    assert names(tmp_path / "b/x", tmp_path / "c/x") == ["SRAE (b/x)", "SRAE (c/x)"]
    assert names(tmp_path / "d", tmp_path / "e") == ["CAM (d)", "CAM (e)"]


def test_a_run_that_is_missing_or_not_tested_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none is no folder"):
        names(tmp_path / "none")
    (tmp_path / "fitted").mkdir()
    with pytest.raises(FileNotFoundError, match=r"fitted holds no metrics.json: run train.py test first"):
        names(tmp_path / "fitted")
    (tmp_path / "fitted" / "metrics-limited.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="part of the images"):
        names(tmp_path / "fitted")
    write_run(tmp_path / "early", "SRAE", ROWS)
    (tmp_path / "early" / "evaluation.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"early holds no evaluation.json"):
        names(tmp_path / "early")
    with pytest.raises(ValueError, match="nothing to compare"):
        names()


def test_tests_on_different_images_are_refused(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", "SRAE", ROWS)
    other = write_run(tmp_path / "other", "CAM", ROWS, data="VOCDataModule")
    with pytest.raises(ValueError, match=r"FlowerDataModule and .*other on VOCDataModule"):
        names(a, other)
    apart = write_run(tmp_path / "apart", "CAM", [(f"z{key}", target, values) for key, target, values in ROWS])
    overlapping = write_run(tmp_path / "overlapping", "CAM", [("z", "c", {"iou": 1.0}), *ROWS[:1]])
    assert len(names(a, overlapping)) == 2
    with pytest.raises(ValueError, match=r"a and .*apart have no tested image in common"):
        names(a, overlapping, apart)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("metrics.json", "{", "damaged"),
        ("metrics.json", "[]", "no JSON object"),
        ("metrics.json", '{"test/iou": "1"}', "'1' is no number"),
        ("metrics.json", '{"test/iou": true}', "True is no number"),
        ("metrics.json", b"\xff{}", "damaged"),
        ("evaluation.json", '{"data": "D"}', "name"),
        ("evaluation.json", '{"data": "D", "name": ""}', "name"),
        (
            "evaluation.json",
            '{"data": "D", "name": "N", "curves": {"c": {"x": [1], "y": []}}}',
            "1 values of x and 0 of y",
        ),
        ("evaluation.json", '{"data": "D", "name": "N", "curves": {"c": {"x": [1]}}}', "'y'"),
        ("evaluation.json", '{"data": "D", "name": "N", "curves": [1]}', "damaged"),
    ],
)
def test_damaged_documents_name_their_file(tmp_path: Path, name: str, text: "str | bytes", told: str) -> None:
    folder = write_run(tmp_path / "a", "SRAE", ROWS)
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ValueError, match=f"{folder / name} is damaged") as error:
        read_runs([folder])
    assert told in str(error.value)


def test_documents_may_leave_out_what_not_every_test_has(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", "SRAE", figures={"iou": 1.0})
    (folder / "evaluation.json").write_text(json.dumps({"name": "SRAE", "data": "D", "curves": None}))
    (run,) = read_runs([folder])
    assert (run.curves, run.settings, run.explain, list(run.per_image.keys)) == ({}, {}, "", [])
