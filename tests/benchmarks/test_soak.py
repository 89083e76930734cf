"""The benchmark of a long fit's memory: its slope, and a run of a few steps."""

import json
import mmap
import sys
from pathlib import Path

import pytest

from benchmarks import soak


@pytest.mark.parametrize(
    ("notes", "expected"),
    [
        ([], 0.0),
        ([(100, 5_000_000, 7)], 0.0),
        ([(0, 1_000, 7), (100, 9_000_000, 7), (200, 10_000, 7), (300, 12_000, 7), (400, 14_000, 7)], 20_000.0),
    ],
)
def test_the_slope_is_that_of_the_second_half(notes: list[soak.Note], expected: float) -> None:
    assert soak.slope(notes) == pytest.approx(expected)


def test_memory_that_is_taken_is_seen() -> None:
    before = soak.resident_bytes()
    with mmap.mmap(-1, 50_000_000) as taken:  # pages of its own: other memory may be of what the process has freed
        taken.write(b"x" * 50_000_000)
        assert soak.resident_bytes() - before > 40_000_000


def test_a_short_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "soak.json"
    monkeypatch.setattr(sys, "argv", ["soak", "--minutes", "0.02", "--every", "1", f"--out={out}"])
    soak.main()
    found = json.loads(out.read_text())["modules"]["srae"]
    assert len(found["notes"]) >= 1
    assert all(size > 0 and files > 0 for _, size, files in found["notes"])
