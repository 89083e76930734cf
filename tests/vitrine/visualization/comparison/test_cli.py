"""``python -m vitrine.compare``: arguments, exit codes and sentences."""

import runpy
import signal
from pathlib import Path

import pytest

from vitrine.visualization.comparison.cli import main


def test_a_comparison(tmp_path: Path, run_folders: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    options = ["--out", str(out), "--sort", "iou", "--resamples", "50", "--seed", "1", "--confidence", "0.8"]
    assert main([*map(str, run_folders), *options, "--figures", "iou", "acc*"]) == 0
    assert capsys.readouterr().out == f"3 methods compared: {out / 'compare.html'}\n"
    assert "80 % bootstrap intervals (50 resamples" in (out / "compare.md").read_text()
    assert (out / "compare.csv").read_text().startswith("method,accuracy,iou,iou/low,iou/high\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--sort", "iu"], "--sort iu is no figure"),
        (["--figures", "nothing*"], "--figures nothing*"),
        (["--confidence", "95"], "confidence is 95"),
        (["--resamples", "0"], "resamples is 0"),
        (["elsewhere"], "elsewhere is no folder"),
    ],
)
def test_what_is_refused_is_one_sentence_and_writes_nothing(
    tmp_path: Path, run_folders: list[Path], capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert main([str(run_folders[0]), *arguments, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_help_names_the_files_and_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    for text in ("RUN [RUN ...]", "compare.csv", "compare.html", "--sort FIGURE", "--figures GLOB", "(2000)", "(0.95)"):
        assert text in shown


def test_the_module_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["compare.py", "nowhere", "--out", "x"])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as stopped:
        runpy.run_module("vitrine.compare", run_name="__main__")
    assert stopped.value.code == 2
    assert capsys.readouterr().err == (
        "nowhere is no folder: give the folder of a run that train.py test has tested.\n"
    )
