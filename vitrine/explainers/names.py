"""Names that a person gives to the heatmaps of each class, in a file beside the explainer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from vitrine.core.atomic_io import atomic_file

NAMES_NAME = "names.yaml"
HEADER = (
    "# Look at what the heatmaps of a class have in common, and write a name for each between its quotes, such as"
    " 'red crown'.\n# The first line of a class is its heatmap 1. Heatmaps without a name keep their number.\n"
)

Names = dict[str, list[str]]
"""By class name, one name a heatmap; empty where it has none yet."""


def without_names(counts: Mapping[str, int]) -> Names:
    """Empty names for so many heatmaps of each class."""
    return {class_name: [""] * count for class_name, count in counts.items()}


def read_names(path: Path, counts: Mapping[str, int]) -> Names:
    """Reads a file of names and checks that it fits; classes that it leaves out have no names.

    Args:
        path: the file.
        counts: number of heatmaps of each class, by class name.

    Raises:
        FileNotFoundError: where there is no file.
        ValueError: where it is not YAML of lists of names, names heatmaps of a class that is not among ``counts``, or has
            another number of names for it.
    """
    names = parse_names(path)
    for class_name, entries in names.items():
        if not any(entries):  # nobody wrote anything: the file may be of other heads
            continue
        if class_name not in counts:
            known = ", ".join(repr(name) for name in list(counts)[:5]) or "none"
            raise ValueError(f"{path} has names for {class_name!r}, which is no explained class; classes: {known}.")
        if len(entries) != counts[class_name]:
            raise ValueError(
                f"{path} has {len(entries)} names for {class_name!r}, which has {counts[class_name]} heatmaps; give a line"
                " for each, with '' where there is no name yet."
            )
    return without_names(counts) | {class_name: entries for class_name, entries in names.items() if any(entries)}


def parse_names(path: Path) -> Names:
    """Reads a file of names of any classes; the errors are those of `read_names`."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give a file of names such as an exported explainer holds.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError(f"{path} is not valid YAML of names: it is nested too deeply.") from None
    except (yaml.YAMLError, ValueError) as error:  # also of bytes that are no UTF-8, and of dates that do not exist
        raise ValueError(f"{path} is not valid YAML: {_one_line(str(error))}.") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold class names, each with a list of names, got a {type(content).__name__}.")
    return {str(class_name): _checked(path, str(class_name), entries) for class_name, entries in content.items()}


def _checked(path: Path, class_name: str, entries: Any) -> list[str]:
    if not isinstance(entries, list):
        raise ValueError(f"{path}: {class_name!r} must have a list of names, one a line after a dash, got {entries!r}.")
    wrong = [name for name in entries if not isinstance(name, str | None)]
    if wrong:
        raise ValueError(f"{path}: {class_name!r} has the name {wrong[0]!r}, which is not text; write it in quotes.")
    return [_one_line(name or "") for name in entries]


def _one_line(text: str) -> str:
    return " ".join(text.split())


def write_names(path: Path, names: Mapping[str, list[str]]) -> None:
    """Writes a file of names, with a comment on top that says what to do with it."""
    text = yaml.safe_dump(dict(names), allow_unicode=True, sort_keys=False, width=10**6) if names else ""
    with atomic_file(path) as partial:
        partial.write_text(HEADER + text, encoding="utf-8")


def joined(names: Mapping[str, list[str]], earlier: Mapping[str, list[str]], counts: Mapping[str, int]) -> Names:
    """The names of the heatmaps in ``counts``: those of ``names``, and where it has none, those of ``earlier`` that fit."""
    together = without_names(counts)
    for source in (earlier, names):  # what comes later is written over what came before
        for class_name, entries in source.items():
            if len(entries) == counts.get(class_name):
                kept = together[class_name]
                together[class_name] = [name or before for name, before in zip(entries, kept, strict=True)]
    return together


def write_joined_names(
    folder: Path, replaced: Path, names: Mapping[str, list[str]], counts: Mapping[str, int]
) -> str | None:
    """Writes the file of names of an explainer that replaces an earlier one, whose names are carried over.

    What a person wrote is never lost: a file that would lose a name or a comment is kept beside, as ``names.yaml.old``.

    Args:
        folder: where to.
        replaced: the folder of the earlier explainer, which may not be there.
        names: the new explainer's own names, which go before those of the earlier one.
        counts: number of heatmaps of each of its classes; none for an explainer whose heatmaps have no names.

    Returns:
        Name of the file that the earlier names are kept in, where some are not carried over.
    """
    for kept in sorted(replaced.glob(f"{NAMES_NAME}.old*")):
        (folder / kept.name).write_bytes(kept.read_bytes())
    before = replaced / NAMES_NAME
    text = before.read_bytes() if before.is_file() else b""
    earlier = _readable(before) if text else {}
    together = joined(names, earlier or {}, counts)
    if text and earlier == together:
        (folder / NAMES_NAME).write_bytes(text)  # with the person's own comments
        return None
    if counts:
        write_names(folder / NAMES_NAME, together)
    loses = earlier is None or _named(earlier) - _named(together) or _has_comment(text)
    return _kept_beside(folder, text) if loses else None


def has_names(path: Path) -> bool:
    """Whether a file holds a name that a person wrote."""
    return path.is_file() and bool(_named(_readable(path) or {}))


def _readable(path: Path) -> Names | None:
    try:
        return parse_names(path)
    except ValueError:
        return None


def _named(names: Mapping[str, list[str]]) -> set[tuple[str, int, str]]:
    return {(class_name, i, name) for class_name, entries in names.items() for i, name in enumerate(entries) if name}


def _has_comment(text: bytes) -> bool:
    """Whether there is a comment beside those that this module writes; a # within a name passes for one."""
    return any(b"#" in line and line.decode(errors="replace") not in HEADER for line in text.splitlines())


def _kept_beside(folder: Path, text: bytes) -> str:
    name, number = f"{NAMES_NAME}.old", 1
    while (folder / name).exists() and (folder / name).read_bytes() != text:
        number += 1
        name = f"{NAMES_NAME}.old{number}"
    (folder / name).write_bytes(text)
    return name
