"""Progress bars on stderr."""

import pytest

from vitrine.core.progress import progress_bar


def test_the_progress_bar_is_on_stderr_and_only_where_it_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    for shown in (False, True):
        with progress_bar("Looking", 3, shown=shown) as advance:
            advance(3)
        written = capsys.readouterr()
        assert written.out == ""
        assert ("Looking" in written.err and "3/3" in written.err) == shown
