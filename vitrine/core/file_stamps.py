"""File stamps: size and times by which a file that was checked once is known to be unchanged."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from vitrine.core.atomic_io import atomic_file

Stamp = tuple[int, int, int]
"""Size in bytes, and the times of the last change of content and of the file's entry, in nanoseconds.

The third cannot be set by a program: a file that was replaced by another of the same size and date has another one.
"""
LONG_READ_BYTES = 10**9
"""From how many bytes on reading takes so long that progress is to be shown."""


def file_stamp(path: Path) -> Stamp:
    """The stamp of a file.

    Raises:
        FileNotFoundError: where it does not exist.
    """
    entry = path.stat()
    return entry.st_size, entry.st_mtime_ns, entry.st_ctime_ns


def read_stamps(record: Path) -> dict[str, Stamp]:
    """The stamps that files had when they were last checked, by name; none where the record is absent or damaged."""
    try:
        entries = json.loads(record.read_text(encoding="utf-8"))
        return {name: (int(size), int(changed), int(entered)) for name, (size, changed, entered) in entries.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def write_stamps(record: Path, stamps: Mapping[str, Stamp]) -> None:
    """Records stamps; where that is not allowed, files are checked again the next time."""
    with suppress(OSError), atomic_file(record) as partial:
        partial.write_text(json.dumps(stamps), encoding="utf-8")
