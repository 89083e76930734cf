"""Files that are on a disk, from which the page cache can be taken."""

import os
from pathlib import Path

import pytest


def file_on_disk(path: Path, size: int) -> Path:
    """A file of zeros; the test is skipped where temporary files are in memory, which no page can leave."""
    if file_system_of(path.parent) in {"tmpfs", "ramfs"}:
        pytest.skip(f"{path.parent} is in memory: this test takes files out of the page cache")
    with path.open("wb") as file:
        file.write(bytes(size))
        os.fsync(file.fileno())
    return path


def file_system_of(folder: Path) -> str:
    """The type of the file system that a folder is on, as the system names it."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    above = [(place, kind) for place, kind in mounts if folder.resolve().is_relative_to(place)]
    return max(above, key=lambda mount: len(mount[0]), default=("", ""))[1]
