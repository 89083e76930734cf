"""``vitrine report``: arguments, exit codes and sentences."""

from pathlib import Path

import pytest

from vitrine.visualization.run_pages.cli import main


def test_index_pages_of_several_runs_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [tmp_path / name for name in ("a", "b")]
    for run in runs:
        (run / "report").mkdir(parents=True)
        (run / "report" / "index.html").write_text("<html>")
    assert main(list(map(str, runs))) == 0
    assert capsys.readouterr().out == "".join(f"Results: {run / 'index.html'}\n" for run in runs)
    assert all("report/index.html" in (run / "index.html").read_text() for run in runs)


def test_a_folder_that_is_not_there_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none")]) == 2
    assert "none is no folder" in capsys.readouterr().err
