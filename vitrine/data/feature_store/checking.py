"""Checks of a feature store's chunks against their checksums, each chunk once as long as its file does not change."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from vitrine.core.file_stamps import LONG_READ_BYTES, file_stamp, read_stamps, write_stamps
from vitrine.core.progress import progress_bar
from vitrine.data.feature_store.chunk_file import chunk_damage, chunk_name, tensor_damage
from vitrine.data.feature_store.manifest import MANIFEST, Manifest, read_manifest

VERIFIED = "verified.json"
"""The stamps that chunks had when their checksums were right."""
LEFTOVER_SECONDS = 3600
_THREADS = 4  # reading and hashing run beside each other


def damaged_chunks(folder: Path, *, every: bool = False, shown: bool = False) -> dict[int, str]:
    """Numbers of a store's damaged chunks, with what is wrong with each as the end of a sentence.

    Args:
        folder: that of the store.
        every: whether chunks are read too that were read before and have not changed since.
        shown: whether a progress bar is drawn where there is much to read.

    Raises:
        FileNotFoundError: where the folder is no store.
        ValueError: where its manifest is damaged, or of an earlier format.
    """
    manifest = read_manifest(folder)
    chunks = {number: folder / chunk_name(number) for number in range(manifest.num_chunks)}
    chunks = {number: path for number, path in chunks.items() if path.is_file()}
    record = folder / VERIFIED
    stamps = {str(number): file_stamp(path) for number, path in chunks.items()}
    known = {} if every else read_stamps(record)
    unread = [number for number in chunks if known.get(str(number)) != stamps[str(number)]]
    if not unread:
        return {}
    shown = shown and sum(stamps[str(number)][0] for number in unread) >= LONG_READ_BYTES
    bar = progress_bar(f"Checksums of {folder}", len(unread), shown=shown, unit="chunks", transient=True)
    with ThreadPoolExecutor(_THREADS) as pool, bar as advance:
        found = pool.map(lambda number: _damage(folder, manifest, number), unread)
        damaged = {}
        for number, damage in zip(unread, found, strict=True):
            advance(1)
            if damage is not None:
                damaged[number] = damage
    write_stamps(record, {name: stamp for name, stamp in stamps.items() if int(name) not in damaged})
    return damaged


def _damage(folder: Path, manifest: Manifest, number: int) -> str | None:
    path = folder / chunk_name(number)
    return chunk_damage(path, manifest.origin_of(number, folder.name)) or tensor_damage(
        path, manifest.shapes_of(number)
    )


def remove_leftovers(folder: Path) -> None:
    """Removes unfinished files of killed processes from a store that is locked: those that are more than an hour old."""
    for path in folder.glob(".*.partial-*"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > LEFTOVER_SECONDS:
                path.unlink()


def mark_used(folder: Path) -> None:
    """Notes that a store is used now, where that is allowed; `last_used` reads it."""
    with suppress(OSError):
        os.utime(folder / MANIFEST)


def last_used(folder: Path) -> float:
    """Unix time at which a store was last opened; for one without a manifest, at which its folder changed."""
    path = folder / MANIFEST
    return (path if path.is_file() else folder).stat().st_mtime
