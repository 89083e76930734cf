"""Disk space: reserved before it is needed, so that a full disk is a sentence and not a crash."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vitrine.core.memory import free_disk_bytes, readable_size

_FULL = {errno.ENOSPC, errno.EDQUOT}
_CANNOT_RESERVE = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}
_BLOCK = 2**20


def check_space(folder: Path, needed: int) -> None:
    """Checks that a folder's disk has as many bytes free as are needed.

    Raises:
        ValueError: where it has fewer.
    """
    if free_disk_bytes(folder) < needed:
        raise ValueError(_full(folder, needed))


def reserve(path: Path, size: int) -> None:
    """Makes a file of ``size`` bytes whose blocks are really allocated; it reads as zeros.

    Raises:
        ValueError: where the disk is full.
    """
    with path.open("wb") as file, told_where_full(path.parent, size):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in _CANNOT_RESERVE:
                raise
            _write_zeros(file.fileno(), size)


@contextmanager
def told_where_full(folder: Path, needed: int) -> Iterator[None]:
    """Turns the system's error that a disk is full into a sentence.

    Raises:
        ValueError: where the disk became full within the block.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise ValueError(_full(folder, needed)) from error


def _write_zeros(descriptor: int, size: int) -> None:
    zeros = bytes(min(size, _BLOCK))
    while size > 0:
        size -= os.write(descriptor, zeros[:size])


def _full(folder: Path, needed: int) -> str:
    free = readable_size(free_disk_bytes(folder))
    return (
        f"The disk of {folder} is full: the features need {readable_size(needed)} there and {free} are free;"
        " make room with python -m vitrine.features prune, set data.init_args.features.folder to another disk, or"
        " data.init_args.features.dtype to float16 or bfloat16."
    )
