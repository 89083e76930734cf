"""What Lightning says of itself is left out; warnings are one line, once."""

import io
import logging
import sys
import warnings

import pytest
from pytorch_lightning.utilities import rank_zero_info

from callbacks.quiet_output import quieten, tell_warnings_once
from vitrine.core.verbosity import VARIABLE


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What Lightning's logger writes."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    monkeypatch.setattr(logging.getLogger("pytorch_lightning"), "handlers", [handler])
    quieten()
    return stream


def lightnings_line() -> None:
    import pytorch_lightning as pl

    pl.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", devices=1)  # says which devices there are


@pytest.mark.parametrize(("level", "says_devices"), [("normal", False), ("verbose", True)])
def test_lightnings_own_lines_need_verbose_and_ours_do_not(
    level: str, says_devices: bool, heard: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, level)
    lightnings_line()
    rank_zero_info("of this project")
    assert ("GPU available" in heard.getvalue()) is says_devices
    assert "of this project" in heard.getvalue()


def test_a_warning_is_one_line_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "normal")
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        tell_warnings_once()
        for _ in range(2):
            warnings.warn("two\nlines of https://me:secret@host/x", stacklevel=1)
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().startswith("warning: two lines of ")
    assert "secret" not in stream.getvalue()


def test_verbose_says_where_a_warning_is_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "verbose")
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        tell_warnings_once()
        warnings.warn("look here", stacklevel=1)
    assert "test_quiet_output.py" in stream.getvalue()
