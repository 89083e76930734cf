"""Tables of a comparison: CSV, Markdown and W&B."""

import csv
import math
from pathlib import Path

import pytest

from tests.helpers.tested_runs import mean_of
from tests.vitrine.visualization.comparison.conftest import compared_rows
from vitrine.visualization.comparison.comparison import Comparison
from vitrine.visualization.comparison.tables import (
    comparison_table,
    heading,
    interval_text,
    markdown,
    number,
    write_comparison_csv,
    write_differences_csv,
)

COLUMNS = [
    "method", "accuracy", "iou", "iou/low", "iou/high", "localization/error", "localization/error/low",
    "localization/error/high", "pointing_game", "pointing_game/low", "pointing_game/high", "iou/best", "iou/skipped",
]  # fmt: skip


def test_the_table_has_a_row_a_method_and_bounds_where_there_are_some(comparison: Comparison) -> None:
    columns, rows = comparison_table(comparison)
    assert columns == COLUMNS
    assert [row[0] for row in rows] == comparison.methods
    row = dict(zip(columns, rows[0], strict=True))
    assert row["iou"] == mean_of(compared_rows(0), "iou")
    assert (row["iou/low"], row["iou/high"]) == comparison.interval("near", "iou")
    assert (
        comparison.interval("near", "iou")[0] < comparison.value("near", "iou") < comparison.interval("near", "iou")[1]
    )


def test_the_csv_has_all_digits_and_empty_cells(tmp_path: Path, comparison: Comparison) -> None:
    write_comparison_csv(tmp_path / "compare.csv", comparison)
    with (tmp_path / "compare.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == comparison.methods
    assert [float(row["iou"]) for row in rows] == [comparison.value(method, "iou") for method in comparison.methods]
    assert [float(row["iou/high"]) for row in rows] == [
        comparison.interval(method, "iou")[1] for method in comparison.methods
    ]


def test_pairs_have_a_row_each(tmp_path: Path, comparison: Comparison) -> None:
    write_differences_csv(tmp_path / "differences.csv", comparison)
    with (tmp_path / "differences.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 3
    first = rows[0]
    assert (first["figure"], first["method"], first["other"], first["images"]) == ("iou", "near", "far", "40")
    assert first["within_chance"] == "false"
    assert float(first["difference"]) == pytest.approx(
        comparison.value("near", "iou") - comparison.value("far", "iou"), rel=1e-9
    )


def test_markdown_marks_the_best_and_what_is_within_chance(comparison: Comparison) -> None:
    lines = markdown(comparison, "Three", picture="x.jpg").splitlines()
    assert lines[0] == "# Three"
    head = lines.index("| method | iou ↑ (%) | localization/error ↓ | pointing_game ↑ |")
    assert lines[head + 1] == "| --- | ---: | ---: | ---: |"
    near, far, worst = lines[head + 2 : head + 5]
    assert near.startswith(f"| near | **{comparison.value('near', 'iou'):.4g}** [")
    assert [line.count("**") for line in (near, far, worst)] == [4, 0, 2]  # iou and pointing game; the error
    assert [line.count("≈") for line in (near, far, worst)] == [0, 1, 0]
    assert worst.startswith(r"| &lt;b&gt; \| worst | ")
    assert lines[-1].endswith("(x.jpg)")


def test_numbers_have_four_digits() -> None:
    assert [number(value) for value in (0.123456, -12345.6, math.nan, 0.0)] == ["0.1235", "−1.235e+04", "–", "0"]
    assert number(0.5, signed=True) == "+0.5"
    assert interval_text(-1, 2.5) == "[−1, 2.5]"
    assert interval_text(math.nan, math.nan) == ""


def test_headings_tell_direction_and_unit() -> None:
    assert [heading(name) for name in ("iou", "f_reg", "slope")] == ["iou ↑ (%)", "f_reg ↓ (logits)", "slope"]
