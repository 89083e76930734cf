"""The benchmark of the feature store: both ways read the same samples."""

import json
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import feature_store


def test_both_ways_read_the_same(tmp_path: Path) -> None:
    table = feature_store.written_store(tmp_path, 150, width=3, classes=2)
    rows = feature_store.orders(150, 40, seed=0)
    read = feature_store.flat_reader(tmp_path, table)
    for order in rows.values():
        assert sorted(order.tolist()) == list(range(150))
        keys, features, logits, labels = read(order)
        batch = table.batch(order)
        assert batch["key"] == keys
        for name, expected in (("features", features), ("logits", logits), ("label", labels)):
            assert torch.equal(batch[name], expected)  # type: ignore[literal-required]


def test_a_small_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = ["--samples", "150", "--width", "3", "--classes", "2", "--window", "40", "--batch-sizes", "16"]
    out = tmp_path / "figures.json"
    monkeypatch.setattr(sys, "argv", ["feature_store", *sizes, "--out", str(out)])
    feature_store.main()
    figures = json.loads(out.read_text())["reading"]
    assert [row["order"] for row in figures] == ["in order", "windows of 40", "all shuffled"]
    assert all(row["flat"] > 0 and row["chunks"] > 0 for row in figures)
