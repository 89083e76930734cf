"""Files that are finished in a thread: one at a time, whole or not there, and no error is lost."""

import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from vitrine.core.atomic_io import atomic_file
from vitrine.data.feature_store.background_writer import BackgroundWriter


def begin(writer: BackgroundWriter, path: Path, write: object) -> None:
    with ExitStack() as unfinished:
        partial = unfinished.enter_context(atomic_file(path))
        writer.finish(unfinished, lambda: write(partial))  # type: ignore[operator]


def test_a_file_appears_once_it_is_written_while_others_go_on(tmp_path: Path) -> None:
    path, may_write = tmp_path / "file", threading.Event()

    def write(partial: Path) -> None:
        assert may_write.wait(60)
        partial.write_text("whole")

    with BackgroundWriter() as writer:
        begin(writer, path, write)
        assert not path.exists()
        may_write.set()
    assert path.read_text() == "whole"
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_the_next_file_waits_for_the_one_before(tmp_path: Path) -> None:
    with BackgroundWriter() as writer:
        for name in "abc":
            begin(writer, tmp_path / name, lambda partial: partial.write_text("x"))
            before = sorted(one.name for one in tmp_path.iterdir() if not one.name.startswith("."))
            assert before[: ord(name) - ord("a")] == [*"abc"[: ord(name) - ord("a")]]


def failing(partial: Path) -> None:
    partial.write_text("half")
    raise ValueError("the disk is full")


def test_an_error_is_raised_by_the_next_call_and_leaves_no_file(tmp_path: Path) -> None:
    with BackgroundWriter() as writer:
        begin(writer, tmp_path / "a", failing)
        with pytest.raises(ValueError, match="the disk is full"):
            begin(writer, tmp_path / "b", lambda partial: partial.write_text("x"))
    assert not list(tmp_path.iterdir())


def test_an_error_of_the_last_file_is_raised_on_leaving(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the disk is full"), BackgroundWriter() as writer:
        begin(writer, tmp_path / "a", failing)
    assert not list(tmp_path.iterdir())


def test_what_was_begun_is_finished_after_an_error_elsewhere(tmp_path: Path) -> None:
    def stopped() -> None:
        with BackgroundWriter() as writer:
            begin(writer, tmp_path / "a", lambda partial: partial.write_text("x"))
            raise KeyError

    with pytest.raises(KeyError):
        stopped()
    assert (tmp_path / "a").read_text() == "x"
