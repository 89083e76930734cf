"""The CSV of a run: one file for a fit that was stopped and resumed, one for each test."""

import csv
from pathlib import Path

from callbacks.csv_log import RunCSVLogger


def logged(folder: Path, stage: str, rows: dict[int, float], name: str = "train/loss") -> list[dict[str, str]]:
    """What the file holds after a process has logged values by step."""
    logger = RunCSVLogger(str(folder), stage)
    for step, value in rows.items():
        logger.log_metrics({name: value}, step)
        logger.save()
    logger.finalize("success")
    with (folder / "logs" / stage / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_resumed_fit_goes_on_in_the_file_and_replaces_what_was_lost(tmp_path: Path) -> None:
    logged(tmp_path, "fit", {5: 0.5, 11: 0.4, 17: 0.3})
    rows = logged(tmp_path, "fit", {11: 0.25, 17: 0.125})
    assert [(row["step"], float(row["train/loss"])) for row in rows] == [("5", 0.5), ("11", 0.25), ("17", 0.125)]


def test_new_columns_leave_the_earlier_rows(tmp_path: Path) -> None:
    logged(tmp_path, "fit", {5: 0.5})
    rows = logged(tmp_path, "fit", {11: 0.75}, "val/f_cls")
    assert [(row["step"], row["train/loss"], row["val/f_cls"]) for row in rows] == [
        ("5", "0.5", ""),
        ("11", "", "0.75"),
    ]


def test_a_fit_that_begins_anew_keeps_nothing(tmp_path: Path) -> None:
    logged(tmp_path, "fit", {5: 0.5, 11: 0.4})
    assert [row["step"] for row in logged(tmp_path, "fit", {5: 0.25})] == ["5"]


def test_a_test_replaces_the_earlier_one(tmp_path: Path) -> None:
    logged(tmp_path, "test", {5: 0.5}, "test/iou")
    rows = logged(tmp_path, "test", {12: 0.25}, "test/iou")
    assert [(row["step"], row["test/iou"]) for row in rows] == [("12", "0.25")]
