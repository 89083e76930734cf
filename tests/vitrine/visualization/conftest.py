"""A browser for the pages."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.helpers.pages import FAULTS, chromium


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture(autouse=True)
def no_faults() -> Iterator[None]:
    """No page that a test has opened had an error or left the machine."""
    yield
    faults = [fault for of_browser in FAULTS.values() for fault in of_browser]
    FAULTS.clear()
    assert faults == []
