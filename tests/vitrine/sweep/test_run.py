"""One run of a sweep: its command and its error."""

import sys
from pathlib import Path

import pytest

from vitrine.sweep.run import SweepRun, command_of, error_sentence

TEMPLATE = ["${env}", "${interpreter}", "${program}", "fit", "-c", "a.yaml", "${args}"]


def test_placeholders_are_filled_as_wandbs_agent_does() -> None:
    values = {"a.b": 0.5, "c": [64, 16], "d": True, "e": None, "f": "x"}
    command = command_of(TEMPLATE, Path("train.py"), values, Path("out/r"))
    assert command == [
        sys.executable, "train.py", "fit", "-c", "a.yaml", "--a.b=0.5", "--c=[64, 16]", "--d=true", "--e=null", "--f=x",
        "--trainer.default_root_dir=out/r",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("log", "told"),
    [
        ("x\nerror: beta is -1; give 0 or more.\n", "beta is -1; give 0 or more."),
        ("Traceback\nKeyError: 3\n", "exit code 1: KeyError: 3"),
        ("", "exit code 1: it said nothing"),
    ],
)
def test_a_failure_is_told_in_a_sentence(log: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "log").write_text(log)
    assert error_sentence(tmp_path / "log", 1) == told


def test_figures_are_those_of_fit_and_test(tmp_path: Path) -> None:
    run = SweepRun(tmp_path, {"a": 1}, [["x"]])
    assert run.figures() == {}
    (tmp_path / "metrics-fit.json").write_text('{"val/a": 1.0}')
    (tmp_path / "metrics.json").write_text('{"test/a": null}')
    assert run.figures() == {"val/a": 1.0, "test/a": None}
