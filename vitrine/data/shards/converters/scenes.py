"""Names of scene categories, which Places365 and ADE20K spell in several ways."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOMS = (
    "bathroom", "bedroom", "conference_room", "dining_room", "home_office", "hotel_room", "kitchen", "living_room",
    "office", "waiting_room",
)  # fmt: skip
"""The ten kinds of rooms that Qi, Khorram and Li explain (section 4.2)."""


def canonical(name: str) -> str:
    """One spelling of a category: "/b/booth/indoor", "booth/indoor", "booth-indoor" and "booth__indoor" are booth_indoor."""
    return re.sub(r"[-/_ ]+", "_", re.sub(r"^/[a-z]/", "", name.strip())).strip("_")


def read_categories(path: Path) -> list[str]:
    """The classes of a network in the order of its logits, from rows of a name and, where there is one, its index.

    ``categories_places365.txt`` is such a file ("/a/airfield 0"); the letter folder before a name is taken away.

    Raises:
        FileNotFoundError: The file is absent.
        ValueError: A name is doubled, or the indices are not 0, 1, 2 and so on.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: give a file of class names, such as categories_places365.txt.")
    names: list[str] = []
    seen: set[str] = set()
    for number, line in enumerate(filter(None, map(str.strip, path.read_text(encoding="utf-8").splitlines()))):
        name, index = re.fullmatch(r"(.*?)(?:\s+(\d+))?", line).groups()  # type: ignore[union-attr]
        if index is not None and int(index) != number:
            raise ValueError(f"{path}: {name} has the index {index} in place of {number}: sort the rows by index.")
        if canonical(name) in seen:
            raise ValueError(f"{path} lists {name} twice: remove one of the rows.")
        seen.add(canonical(name))
        names.append(re.sub(r"^/[a-z]/", "", name))
    if not names:
        raise ValueError(f"{path} is empty: give a file with a class name a row.")
    return names


def positions(names: Iterable[str]) -> dict[str, int]:
    """The place of each name, by its canonical spelling."""
    return {canonical(name): place for place, name in enumerate(names)}


def find_scenes(wanted: Iterable[str], known: Mapping[str, int], source: Path) -> list[int]:
    """The places of the wanted scenes among the known ones, sorted.

    Args:
        wanted: Names of scenes, in any spelling.
        known: Places by canonical name, see ``positions``.
        source: Where the known ones are from, for the message.

    Raises:
        ValueError: A wanted scene is not among them.
    """
    unknown = [name for name in wanted if canonical(name) not in known]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no scene category of {source}: give names such as {', '.join(ROOMS[:3])}.")
    return sorted({known[canonical(name)] for name in wanted})
