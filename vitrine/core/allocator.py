"""Memory allocator: freed memory that stays with the process, so that it need not be mapped again at each step."""

import ctypes
import functools
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD, MMAP_MAX = -1, -2, -3, -4
"""Names of glibc's ``malloc.h``."""
KEEPING = {MMAP_MAX: 0, TRIM_THRESHOLD: 2**31 - 1, TOP_PAD: 2**26}
USUAL = {MMAP_MAX: 65536, MMAP_THRESHOLD: 2**25, TRIM_THRESHOLD: 2**26, TOP_PAD: 2**17}
"""Where glibc's own adjustment ends in a process that frees large tensors; it does not adjust them after ``mallopt``."""

_lock = threading.Lock()
_users = 0


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


def return_freed_memory() -> None:
    """Gives pages that glibc keeps of freed blocks back to the system, where it is the C library; nothing elsewhere.

    Between groups of heads it would keep what lies in holes between blocks that are still in use, more with each group.
    """
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


@contextmanager
def keeping_freed_memory(device: torch.device) -> Iterator[None]:
    """A context in which memory that tensors on a CPU free is reused, and not given back to the system.

    Blocks above 32 MiB, and the heap's end, go back at each free otherwise, and the pages of the next tensor are faults: an
    element-wise operator on 38 MB took 16 ms in place of 2. At the end of the outermost context unused memory is given
    back. Without glibc, and for other devices, nothing is changed.

    Args:
        device: of the tensors.
    """
    global _users  # noqa: PLW0603 - the allocator is the process's
    libc = _glibc() if device.type == "cpu" else None
    if libc is None:
        yield
        return
    with _lock:
        _users += 1
        if _users == 1:
            _set(libc, KEEPING)
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                _set(libc, USUAL)
                return_freed_memory()


def _set(libc: ctypes.CDLL, values: dict[int, int]) -> None:
    for name, value in values.items():
        libc.mallopt(name, value)
