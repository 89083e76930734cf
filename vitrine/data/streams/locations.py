"""Locations of shards as an option names them: folders, tar files, patterns, URLs and commands."""

import glob
import re
from pathlib import Path

from vitrine.data.shards.tar_samples import ShardError

PIPE = "pipe:"
"""Before a shell command that writes a tar file to its standard output."""
_BRACES = re.compile(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}")


def is_remote(location: str | Path) -> bool:
    """Whether what is there has to be fetched: a URL or a command."""
    text = str(location)
    return not isinstance(location, Path) and (text.startswith(PIPE) or "://" in text)


def names_tars(location: str | Path) -> bool:
    """Whether a location names tar files rather than a folder of them."""
    text = str(location)
    return text.startswith(PIPE) or text.endswith(".tar") or any(character in text for character in "*?{[")


def join(folder: str | Path, name: str) -> str:
    """Something in a folder, which may be a URL."""
    return f"{str(folder).rstrip('/')}/{name}"


def parent(location: str) -> str:
    """The folder that a location is in."""
    return location.rpartition("/")[0]


def expand_braces(pattern: str) -> list[str]:
    """Every text that a pattern of braces stands for.

    Example:
        >>> expand_braces("train-{008..010}.tar")
        ['train-008.tar', 'train-009.tar', 'train-010.tar']
        >>> expand_braces("{a,b}/{0..1}")
        ['a/0', 'a/1', 'b/0', 'b/1']
    """
    found = _BRACES.search(pattern)
    if found is None:
        return [pattern]
    first, last, choices = found.groups()
    if choices is None:
        width = len(first) if first.startswith("0") or len(first) == len(last) else 0
        entries = [f"{number:0{width}d}" for number in range(int(first), int(last) + 1)]
    else:
        entries = choices.split(",")
    head, tails = pattern[: found.start()], expand_braces(pattern[found.end() :])
    return [f"{head}{entry}{tail}" for entry in entries for tail in tails]


def tar_locations(pattern: str) -> list[str]:
    """The tar files that a pattern stands for, in the order of its braces and else of their names.

    Args:
        pattern: a tar file, or several by braces such as ``{000..099}`` and, in a file system, ``*``.

    Raises:
        ShardError: where there is none, and for one that is compressed.
    """
    locations = expand_braces(pattern)
    if not is_remote(pattern):
        if any(character in pattern for character in "*?["):
            locations = [path for location in locations for path in sorted(glob.glob(location, recursive=True))]  # noqa: PTH207
        else:
            locations = [location for location in locations if Path(location).is_file()]
    if not locations:
        raise ShardError(f"{pattern} stands for no file; check data.init_args.shards.")
    packed = next((one for one in locations if re.search(r"\.(tgz|tar\.\w+)$", one)), None)
    if packed is not None:
        raise ShardError(f"{packed} is compressed, so that its samples cannot be read one by one; decompress it.")
    return locations
