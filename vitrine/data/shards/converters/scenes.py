"""Scene categories of Places365 and ADE20K: their names in a canonical spelling."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from vitrine.data.shards.text_lists import read_lines

ROOMS = (
    "bathroom", "bedroom", "conference_room", "dining_room", "home_office", "hotel_room", "kitchen", "living_room",
    "office", "waiting_room",
)  # fmt: skip
"""The ten room categories of section 4.2 of Qi, Khorram and Li."""


def canonical(name: str) -> str:
    """The canonical spelling of a category.

    Example:
        >>> canonical("/b/booth/indoor"), canonical("booth-indoor"), canonical("booth__indoor")
        ('booth_indoor', 'booth_indoor', 'booth_indoor')
    """
    return re.sub(r"[-/_ ]+", "_", re.sub(r"^/[a-z]/", "", name.strip())).strip("_")


def read_categories(path: Path) -> list[str]:
    """The classes of a network in the order of its logits, from lines of a name and, optionally, its index.

    ``categories_places365.txt`` is such a file ("/a/airfield 0"); the letter folder before a name is removed.

    Raises:
        FileNotFoundError: where the file is absent.
        ValueError: where a name is repeated, or the indices are not 0, 1, 2 and so on.
    """
    names: list[str] = []
    seen: set[str] = set()
    for number, line in enumerate(read_lines(path, "give a file of class names, such as categories_places365.txt")):
        name, index = re.fullmatch(r"(.*?)(?:\s+([0-9]{1,9}))?", line.text).groups()  # type: ignore[union-attr]
        if index is not None and int(index) != number:
            raise ValueError(
                f"{path}, line {line.number}: {name} has the index {index} in place of {number}: sort the lines by index."
            )
        if canonical(name) in seen:
            raise ValueError(f"{line.place} lists {name} twice: remove one of the lines.")
        seen.add(canonical(name))
        names.append(re.sub(r"^/[a-z]/", "", name))
    if not names:
        raise ValueError(f"{path} is empty: give a file with a class name in each line.")
    return names


def index_by_name(names: Iterable[str]) -> dict[str, int]:
    """Index of each name, by its canonical spelling."""
    return {canonical(name): index for index, name in enumerate(names)}


def find_scenes(scenes: Iterable[str], known: Mapping[str, int], source: Path) -> list[int]:
    """The sorted indices of scenes among the known ones.

    Args:
        scenes: names in any spelling.
        known: indices by canonical name, see `index_by_name`.
        source: where the known ones are from, for the message.

    Raises:
        ValueError: where a scene is not among them.
    """
    unknown = [name for name in scenes if canonical(name) not in known]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no scene category of {source}: give names such as {', '.join(ROOMS[:3])}.")
    return sorted({known[canonical(name)] for name in scenes})
