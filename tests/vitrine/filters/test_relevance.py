"""The table of relevant filters."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vitrine.filters import relevance
from vitrine.filters.layer_selection import selection_by_layer
from vitrine.filters.layers import ResponseLayer
from vitrine.filters.relevance import RelevantFilter, filters_by_relevance, write_layer_selection, write_relevance

LAYERS = [
    ResponseLayer("features.0", "conv", 1, 3, 0, spatial=True),
    ResponseLayer("features.2", "pool", 2, 3, 3, spatial=True),
    ResponseLayer("classifier.0", "linear", 5, 2, 6, spatial=False),
]
CLASSES = ["ant", 'bee, "queen"']


@pytest.fixture
def weights() -> torch.Tensor:
    values = torch.zeros(8, 2)
    values[:, 0] = torch.tensor([0.0, -0.5, 0.25, 0.0, 0.5, 0.0, 0.0, 0.125])
    values[6, 1] = -1 / 3
    return values


def test_rows_fall_by_size_and_keep_their_sign(weights: torch.Tensor) -> None:
    rows = filters_by_relevance(weights, LAYERS, CLASSES)
    assert [(row.class_name, row.rank, row.layer.name, row.filter, row.weight) for row in rows] == [
        ("ant", 1, "features.0", 1, -0.5),  # of equals the first
        ("ant", 2, "features.2", 1, 0.5),
        ("ant", 3, "features.0", 2, 0.25),
        ("ant", 4, "classifier.0", 1, 0.125),
        ('bee, "queen"', 1, "classifier.0", 0, pytest.approx(-1 / 3)),
    ]
    assert [row.index for row in rows] == [1, 4, 2, 7, 6]
    assert rows[0].label == "1 features.0 #1 -0.50"
    assert rows[3].label == "5 classifier.0 #1 +0.12"


@given(
    st.lists(
        st.lists(st.sampled_from([0.0, 0.0, -2.0, 2.0, 0.5, -1.5]), min_size=8, max_size=8), min_size=1, max_size=4
    )
)
@settings(max_examples=60)
def test_rows_against_a_loop(columns: list[list[float]]) -> None:
    matrix = np.array(columns).T
    rows = filters_by_relevance(torch.tensor(matrix), LAYERS)
    expected = [
        (j, rank, int(i), float(matrix[i, j]))
        for j in range(matrix.shape[1])
        for rank, i in enumerate(sorted(np.flatnonzero(matrix[:, j]), key=lambda i: (-abs(matrix[i, j]), i)), start=1)
    ]
    assert [(row.class_index, row.rank, row.index, row.weight) for row in rows] == expected
    assert all(row.layer.start <= row.index < row.layer.start + row.layer.width for row in rows)
    assert all(row.class_name == f"class {row.class_index}" for row in rows)


def test_the_files_can_be_read_back(weights: torch.Tensor, tmp_path: Path) -> None:
    rows = filters_by_relevance(weights, LAYERS, CLASSES)
    write_relevance(tmp_path / "run", rows)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["relevance.csv", "relevance.json"]
    with (tmp_path / "run" / "relevance.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    records: list[dict[str, Any]] = json.loads((tmp_path / "run" / "relevance.json").read_text(encoding="utf-8"))
    assert records[-1] == {
        "class": 'bee, "queen"', "rank": 1, "layer_number": 5, "layer": "classifier.0", "kind": "linear", "filter": 0,
        "weight": rows[-1].weight, "class_index": 1, "index": 6,
    }  # fmt: skip
    assert len(table) == len(records) == len(rows)
    for line, entry in zip(table, records, strict=True):
        assert line == {name: str(entry[name]) for name in line}
        assert float(line["weight"]) == entry["weight"]


def test_the_picks_can_be_read_back(weights: torch.Tensor, tmp_path: Path) -> None:
    picks = selection_by_layer(weights, LAYERS)
    write_layer_selection(tmp_path, picks)
    with (tmp_path / "picks.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [(line["layer"], int(line["picks"]), float(line["pick_share"])) for line in table] == [
        ("features.0", 2, 0.4),
        ("features.2", 1, 0.2),
        ("classifier.0", 2, 0.4),
    ]


def test_no_relevant_filter_gives_a_table_without_rows(tmp_path: Path) -> None:
    write_relevance(tmp_path, filters_by_relevance(torch.zeros(8, 2), LAYERS, CLASSES))
    assert (tmp_path / "relevance.csv").read_text().split() == ["class,rank,layer_number,layer,kind,filter,weight"]
    assert json.loads((tmp_path / "relevance.json").read_text()) == []


def test_after_an_error_both_files_are_what_they_were(
    weights: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_relevance(tmp_path, filters_by_relevance(weights, LAYERS, CLASSES))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fails(row: RelevantFilter) -> dict[str, Any]:
        raise OSError(row.label)

    monkeypatch.setattr(relevance, "record", fails)
    with pytest.raises(OSError, match="classifier"):
        write_relevance(tmp_path, filters_by_relevance(weights, LAYERS, CLASSES)[-1:])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_weights_of_another_network() -> None:
    with pytest.raises(ValueError, match=r"weights must be \(8, C\) for the filters of these layers, got \(7, 2\)"):
        filters_by_relevance(torch.zeros(7, 2), LAYERS)
