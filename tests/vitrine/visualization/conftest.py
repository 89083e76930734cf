"""Pages in a browser are whole."""

from collections.abc import Iterator

import pytest

from tests.helpers.pages import FAULTS


@pytest.fixture(autouse=True)
def no_faults() -> Iterator[None]:
    """No page that a test has opened had an error or left the machine."""
    yield
    faults = [fault for of_browser in FAULTS.values() for fault in of_browser]
    FAULTS.clear()
    assert faults == []
