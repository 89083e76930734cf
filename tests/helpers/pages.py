"""Pages in a browser, and the data that their scripts read."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

LOCAL = ("file:", "blob:", "data:")
FAULTS: dict[Any, list[str]] = {}
"""By browser, errors of scripts and requests that left the machine; a handler that raised would end the browser."""


def cards_of(folder: Path) -> list[dict[str, Any]]:
    """The cards of a gallery's folder."""
    first, *lines, last = (folder / "cards.js").read_text(encoding="utf-8").split("\n")[:-1]
    assert (first, last) == ("globalThis.galleryCards = [", "];")
    return [json.loads(line.removesuffix(",")) for line in lines]


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless browser; on a machine without one, tests in it are left out, but not where everything is tested."""
    program = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
    if program is None and not os.environ.get("CI"):
        pytest.skip("needs Chromium or Chrome")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


def opened(browser: Any, path: Path, width: int = 1200, scheme: str = "light", **options: Any) -> Any:
    """A page opened from its file; errors of its scripts and requests that leave the machine fail the test."""
    page = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme, **options)
    faults = FAULTS.setdefault(browser, [])
    page.on("pageerror", lambda error: faults.append(f"{path.name}: {error}"))
    page.on("request", lambda request: faults.extend([] if request.url.startswith(LOCAL) else [request.url]))
    page.goto(path.resolve().as_uri())
    assert faults == []
    return page
