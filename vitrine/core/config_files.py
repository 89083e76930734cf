"""Configuration files named in others or on the command line: beside the file that names one, else among the shipped ones."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from vitrine.core.near_names import did_you_mean

SUFFIXES = (".yaml", ".yml")
PROPERTIES = re.compile(r"(?:[&!]\S*\s+)*")
"""An anchor and a tag before a value."""
FILE_KEYS = ("data", "model")
"""Outermost keys whose value may be the name of a file."""


def shipped_file(name: str, shipped: Path) -> Path | None:
    """The configuration that is shipped under a name, ``data/cub.yaml`` or ``configs/data/cub.yaml``; None without one.

    Args:
        name: as somebody has written it.
        shipped: the folder of shipped configurations.
    """
    places = [] if Path(name).is_absolute() else [shipped / name, shipped.parent / name]
    return next((place for place in places if name.endswith(SUFFIXES) and place.is_file()), None)


def with_found_files(text: str, folder: Path, shipped: Path) -> str:
    """A configuration in which the names of shipped files are absolute paths, where its own folder has no such file.

    Args:
        text: of the configuration, in YAML; returned as it is where it is none.
        folder: of the configuration.
        shipped: as in `shipped_file`.

    Raises:
        FileNotFoundError: for a file of ``data`` or ``model`` that is in neither folder, with both.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return text  # whoever parses it says what is wrong
    if root is None:
        return text
    places = {node.start_mark.index: (key, node) for key, node in _names(root, "")}  # an alias gives its node once more
    for start, (key, node) in sorted(places.items(), reverse=True):
        path, end = Path(node.value).expanduser(), node.end_mark.index
        if (folder / path).is_file() or path.is_absolute() or "${" in node.value:
            continue
        found = shipped_file(node.value, shipped)
        if found is not None:
            before = PROPERTIES.match(text[start:end])
            text = text[:start] + (before[0] if before else "") + json.dumps(str(found)) + text[end:]
        elif key in FILE_KEYS:
            raise FileNotFoundError(_nowhere(key, node.value, folder, shipped))
    return text


def _names(node: yaml.Node, key: str) -> Iterator[tuple[str, yaml.ScalarNode]]:
    """Values that may name a configuration, in the order of the text, with their dotted keys."""
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            yield from _names(value, f"{key}.{name.value}".removeprefix("."))
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _names(value, f"{key}[]")
    elif isinstance(node, yaml.ScalarNode) and node.value.endswith(SUFFIXES) and "\n" not in node.value:
        yield key, node


def _nowhere(key: str, name: str, folder: Path, shipped: Path) -> str:
    known = sorted(path.relative_to(shipped).as_posix() for path in (shipped / key).rglob("*.yaml"))
    near = did_you_mean(name, known) or "; give the path of one from either folder, or an absolute one."
    return f"{key}: there is no file {name!r} in {folder} or {shipped}{near}"


def with_found_words(words: Sequence[str], options: Sequence[str], shipped: Path) -> list[str]:
    """A command line in which shipped files are absolute paths, where the current folder has no such file.

    Args:
        words: of the command line.
        options: whose values may name files, such as ``--config``; ``--config FILE`` and ``--config=FILE`` are the same.
        shipped: as in `shipped_file`.
    """
    found = []
    for before, word in zip(["", *words], words, strict=False):
        option, equals, value = word.partition("=")
        is_joined = bool(equals) and option in options
        name = value if is_joined else word
        place = shipped_file(name, shipped) if (is_joined or before in options) and not Path(name).is_file() else None
        found.append(word if place is None else f"{option}={place}" if is_joined else str(place))
    return found
