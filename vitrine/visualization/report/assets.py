"""Style sheets and scripts of the pages, files beside this one that are put into each page."""

from functools import cache
from pathlib import Path


@cache
def asset(name: str) -> str:
    """The text of a file of this package, such as ``page.css``."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
