"""Command lines of tables over tested runs: where the table goes, and errors in one sentence."""

from pathlib import Path

import pytest

from experiments.run_tables import show_table, table_parser


def test_a_table_goes_to_the_terminal_or_into_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = table_parser("own", "A table.")
    out = tmp_path / "new" / "table.md"
    assert show_table(command, ["a", "b", "--seed", "3"], lambda args: f"{args.runs} {args.seed} {args.resamples}") == 0
    assert capsys.readouterr().out == f"{[Path('a'), Path('b')]} 3 2000"
    assert show_table(command, ["a", "--out", str(out)], lambda _: "| table |") == 0
    assert out.read_text() == "| table |"
    assert not capsys.readouterr().out


def test_what_cannot_be_made_is_told_and_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(_: object) -> str:
        raise ValueError("a is no run; test it first.")

    out = tmp_path / "table.md"
    assert show_table(table_parser("own", "A table."), ["a", "--out", str(out)], refuse) == 2
    assert "a is no run; test it first." in capsys.readouterr().err
    assert not out.exists()
