"""Read-ahead of mapped chunks: the system is told which pages are needed next, before they are touched.

A page that is touched before it is there costs a wait of its own, and the system reads its surroundings with it.
"""

import ctypes
import mmap
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from vitrine.data.feature_store.chunk_file import ChunkArrays


def _system_call() -> Callable[[int, int, int], int] | None:
    """The C library's madvise(address, length, advice); None on a system without it."""
    try:
        madvise = ctypes.CDLL(None).madvise
    except (AttributeError, OSError, TypeError):
        return None
    madvise.argtypes = (ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int)
    return lambda address, length, advice: int(madvise(address, length, advice))


_madvise = _system_call()
_WILL_NEED = getattr(mmap, "MADV_WILLNEED", 0)
_RANDOM = getattr(mmap, "MADV_RANDOM", 0)


def read_whole(paths: Sequence[Path]) -> None:
    """Has whole chunk files read one after the other; in a thread, as making room for pages takes as long as copying them."""
    if paths and hasattr(os, "posix_fadvise"):
        threading.Thread(target=_ask_for, args=(paths,), daemon=True).start()


def _ask_for(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(OSError), path.open("rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)


def read_rows_alone(chunk: ChunkArrays) -> None:
    """Has a chunk's keys and labels read, and of the rest only what is touched or asked for by `read_rows`."""
    for array in (chunk.keys, chunk.labels):
        _advise(array, 0, len(array), _WILL_NEED)
    for array in (chunk.features, chunk.logits):
        _advise(array, 0, len(array), _RANDOM)


def read_rows(chunks: Sequence[ChunkArrays], places: Sequence[int]) -> None:
    """Has rows at places of chunks read in the background, all of them at once."""
    for chunk, place in zip(chunks, places, strict=True):
        _advise(chunk.features, place, place + 1, _WILL_NEED)
        _advise(chunk.logits, place, place + 1, _WILL_NEED)


def _advise(array: NDArray[Any], start: int, stop: int, advice: int) -> None:
    """Advises on rows of an array; advice that is not taken changes nothing but the time."""
    if _madvise is None or start == stop or not array.size:
        return
    address = array.__array_interface__["data"][0]
    begin, end = address + start * array.strides[0], address + stop * array.strides[0]
    begin -= begin % mmap.PAGESIZE
    _madvise(begin, end - begin, advice)
