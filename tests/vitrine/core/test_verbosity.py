"""How much a run says."""

import pytest

from vitrine.core.verbosity import VARIABLE, is_quiet, is_verbose, level, set_level


@pytest.mark.parametrize(
    ("verbose", "quiet", "expected"),
    [(True, False, "verbose"), (False, True, "quiet"), (False, False, "normal"), (True, True, "normal")],
)
def test_options_and_level(verbose: bool, quiet: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    set_level(verbose=verbose, quiet=quiet)
    assert level() == expected
    assert (is_verbose(), is_quiet()) == (expected == "verbose", expected == "quiet")
