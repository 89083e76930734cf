"""The regression guard of speed: what fell is told, noise is not, and the committed figures are those of all its parts."""

import importlib
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from benchmarks import smoke

Guard = Callable[..., None]


@pytest.fixture
def guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Guard:
    """Runs the guard's main; its one part gives the ratios of ``runs`` one after the other."""
    committed = tmp_path / "smoke.json"
    monkeypatch.setattr(smoke, "COMMITTED", committed)
    monkeypatch.setattr(smoke, "PARTS", ("part",))

    def main(runs: list[Mapping[str, float]], *options: str, known: Mapping[str, float] | None = None) -> None:
        given = iter(runs)
        monkeypatch.setattr(smoke, "measured", lambda *_: next(given))
        monkeypatch.setattr(sys, "argv", ["smoke", *options])
        if known is not None:
            committed.write_text(json.dumps({"machine": "one", "ratios": dict(known)}), encoding="utf-8")
        smoke.main()

    return main


def test_ratios_near_the_committed_ones_pass(guard: Guard, capsys: pytest.CaptureFixture[str]) -> None:
    guard([{"a": 0.81, "b": 5.0, "c": 0.1}], known={"a": 1.0, "b": 1.0})
    assert "new" in capsys.readouterr().out


def test_what_fell_by_more_than_a_fifth_each_time_is_named(guard: Guard) -> None:
    with pytest.raises(SystemExit, match=r"1 of 2 ratios fell by more than a fifth: a$"):
        guard([{"a": 0.79, "b": 1.0}, {"a": 0.7, "b": 0.1}, {"a": 0.6, "b": 0.1}], known={"a": 1.0, "b": 1.0})


def test_what_was_low_once_is_noise(guard: Guard) -> None:
    guard([{"a": 0.5, "b": 1.0}, {"a": 0.6, "b": 0.5}, {"a": 0.9, "b": 0.5}], known={"a": 1.0, "b": 1.0})


def test_a_ratio_that_is_not_measured_any_more_is_named(guard: Guard) -> None:
    with pytest.raises(SystemExit, match=r"^not measured any more: b$"):
        guard([{"a": 1.0}], known={"a": 1.0, "b": 1.0})


def test_figures_are_written(guard: Guard, tmp_path: Path) -> None:
    guard([{"a": 0.5}], "--update", known={"a": 1.0, "gone": 2.0})
    written = json.loads((tmp_path / "smoke.json").read_text(encoding="utf-8"))
    assert written["ratios"] == {"a": 0.5}
    assert written["machine"] != "one"


@pytest.mark.parametrize("part", smoke.PARTS)
def test_every_part_has_ratios(part: str) -> None:
    assert callable(importlib.import_module(f"benchmarks.{part}").smoke)


def test_the_committed_figures_are_positive_ratios() -> None:
    committed = json.loads(smoke.COMMITTED.read_text(encoding="utf-8"))
    assert len(committed["ratios"]) >= len(smoke.PARTS)
    assert all(value > 0 for value in committed["ratios"].values())
