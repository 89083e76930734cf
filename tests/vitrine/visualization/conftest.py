"""A browser for the pages."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.helpers.pages import chromium


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser
