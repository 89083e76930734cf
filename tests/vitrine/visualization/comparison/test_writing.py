"""Written comparisons: which files, and that nothing partial is left."""

import csv
from pathlib import Path

import pytest

from vitrine.visualization.comparison import compare_runs, write_comparison, writing
from vitrine.visualization.comparison.comparison import Comparison

NAMES = ["compare.csv", "compare.html", "compare.md", "compare_differences.csv", "compare_images.jpg"]


def test_a_comparison_is_written_beside_other_files(tmp_path: Path, run_folders: list[Path]) -> None:
    (tmp_path / "metrics.json").write_text("{}")
    (tmp_path / "compare.md").write_text("an earlier one")
    path = compare_runs(run_folders, tmp_path, sort="localization/error", figures=["iou", "loc*"], resamples=50, seed=3)
    assert path == tmp_path / "compare.csv"
    assert sorted(file.name for file in tmp_path.iterdir()) == [*NAMES, "metrics.json"]
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == ["<b> | worst", "far", "near"]
    assert "pointing_game" not in rows[0]
    assert "compare_images.jpg" in (tmp_path / "compare.md").read_text()
    assert (tmp_path / "compare_images.jpg").read_bytes()[:2] == b"\xff\xd8"


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, run_folders: list[Path]) -> None:
    for out in ("a", "b"):
        compare_runs(run_folders[:2], tmp_path / out, resamples=50)
    for name in NAMES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path, comparison: Comparison) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(NotADirectoryError, match=r"out is a file: give a folder"):
        write_comparison(comparison, tmp_path / "out")


def test_a_failure_leaves_nothing_partial(
    tmp_path: Path, comparison: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(path: Path, _: object) -> None:
        path.write_text("half")
        raise OSError("full")

    monkeypatch.setattr(writing, "write_comparison_csv", fails)
    with pytest.raises(OSError, match="full"):
        write_comparison(comparison, tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == NAMES[1:]
