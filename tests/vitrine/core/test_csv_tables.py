"""Cells that a spreadsheet would run are texts, and numbers stay numbers."""

import csv
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitrine.core.csv_tables import plain_cell, safe_cell, write_csv_table

RUN = "=+-@\t\r\n＝＋－＠"


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", '=HYPERLINK("http://x","y")', "-", "--1", "-a"],
)
def test_formulas_are_texts(text: str) -> None:
    assert safe_cell(text) == f"'{text}"


@pytest.mark.parametrize(
    "value", ["-0.5", "+1", "-1e-05", "-inf", "nan", "a=b", "", "x-feature 1", -0.5, 3, None, "'quoted'"]
)
def test_numbers_and_plain_texts_stay(value: object) -> None:
    assert safe_cell(value) == value


@given(st.text(alphabet=f"{RUN}'a1.,\"", max_size=6))
def test_every_text_comes_back(text: str) -> None:
    cell = safe_cell(text)
    assert plain_cell(cell) == text
    assert cell[:1] not in set(RUN) or float(cell) == float(text)


def test_a_table_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    rows: list[dict[str, Any]] = [{"name": "=cmd|' /C calc'!A0", "weight": -0.25}, {"name": 'cafe\udce9, "b"\n'}]
    write_csv_table(path, ["name", "weight"], rows)
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        found = list(csv.DictReader(file))
    assert [plain_cell(row["name"]) for row in found] == [row["name"] for row in rows]
    assert [row["weight"] for row in found] == ["-0.25", ""]
    assert found[0]["name"].startswith("'=")
