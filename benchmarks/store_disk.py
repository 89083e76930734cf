"""Bytes per second of a feature store that is read cold from the disk, over plain reads of the same files.

`benchmarks.feature_store --disk GB` measures it. In order, against reads of 1 MiB, as ``dd`` makes them. At random, where no
row comes twice, as from a store far larger than memory, against as many reads of a row's bytes at random places, one after
the other and by 16 threads. Before each pass the files leave the page cache (posix_fadvise), which mincore confirms.
"""

import ctypes
import mmap
import os
import statistics
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.rounds import Run, ratio, side_by_side
from vitrine.data.feature_store import FeatureTable

BLOCK = 2**20
THREADS = 16
PLAIN, THREADED, STORE = "plain reads", f"plain reads of {THREADS} threads", "store"


def evict(files: Sequence[Path], at_most: float = 0.01) -> None:
    """Takes files out of the page cache, but for a share of their pages that is mapped.

    Raises:
        OSError: where more of their pages stay.
    """
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
    if (left := resident_share(files)) > at_most:
        raise OSError(
            f"{left:.0%} of the store is still in memory; end what has it mapped, or take a folder that is on a disk."
        )


def resident_share(files: Sequence[Path]) -> float:
    """Share of the files' pages that are in memory."""
    there = pages = 0
    for path in files:
        mapped = np.memmap(path, mode="r")
        flags = np.zeros(-(-len(mapped) // mmap.PAGESIZE), dtype=np.uint8)
        call = ctypes.CDLL(None, use_errno=True).mincore
        if call(ctypes.c_void_p(mapped.ctypes.data), ctypes.c_size_t(len(mapped)), ctypes.c_void_p(flags.ctypes.data)):
            raise OSError(ctypes.get_errno(), "mincore failed")
        there, pages = there + int((flags & 1).sum()), pages + len(flags)
    return there / pages


def read_plainly(files: Sequence[Path]) -> None:
    """Reads of 1 MiB, one after the other."""
    block = bytearray(BLOCK)
    for path in files:
        with path.open("rb", buffering=0) as file:
            while file.readinto(block):
                pass


def read_at_random(files: Sequence[Path], count: int, size: int, threads: int, generator: np.random.Generator) -> None:
    """Reads of ``size`` bytes at random places of random files."""
    descriptors = [os.open(path, os.O_RDONLY) for path in files]
    chosen = generator.integers(0, len(files), count)
    lengths = np.array([os.fstat(one).st_size for one in descriptors])[chosen]
    places = (generator.random(count) * (lengths - size)).astype(np.int64)
    jobs = [[descriptors[number] for number in chosen.tolist()], [size] * count, places.tolist()]
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(os.pread, *jobs) if threads > 1 else map(os.pread, *jobs):
            pass
    for one in descriptors:
        os.close(one)


def read_batches(table: FeatureTable, batches: Sequence[Tensor]) -> None:
    """Reads all batches."""
    for rows in batches:
        table.batch(rows)


def disk_figures(
    table: FeatureTable, batch_size: int, random_rows: int, rounds: int, seed: int
) -> dict[str, dict[str, float]]:
    """Megabytes per second of each way to read, and the store's share of the plain rate.

    Args:
        table: of a store, of which no other is open.
        batch_size: rows that are read at once.
        random_rows: that are read at random.
        rounds: that are counted.
        seed: of the random places.
    """
    folder, rows = table.folder, len(table)
    files = sorted(folder.glob("chunk-*.safetensors"))
    size = 4 * (table.manifest.width + table.manifest.classes)
    generator = np.random.default_rng(seed)
    count = min(random_rows, rows)
    in_order = torch.split(torch.arange(rows), batch_size)
    opened: list[FeatureTable] = []

    def cold() -> None:
        opened.clear()  # what is mapped stays in memory
        evict(files)

    def cold_but_open() -> None:
        """A chunk is opened once, and read at random many times, so that opening it counts for nothing."""
        cold()
        opened.append(FeatureTable(folder, fits_memory=False))
        opened[0].batch(torch.arange(0, rows, opened[0].manifest.chunk_rows).flip(0))
        evict(files, at_most=0.1)  # header, labels, keys and a row of each

    def at_random() -> None:
        read_batches(opened[0], torch.split(torch.from_numpy(generator.permutation(rows)[:count]), batch_size))

    plain = partial(read_at_random, files, count, size, generator=generator)
    ordered: Mapping[str, Run] = {
        PLAIN: lambda: read_plainly(files),
        STORE: lambda: read_batches(FeatureTable(folder, fits_memory=False), in_order),
    }
    drawn: Mapping[str, Run] = {PLAIN: lambda: plain(1), THREADED: lambda: plain(THREADS), STORE: at_random}
    return {
        "in order": _rates(ordered, sum(path.stat().st_size for path in files), rounds, cold),
        "at random": _rates(drawn, count * size, rounds, cold_but_open),
    }


def _rates(runs: Mapping[str, Run], read: int, rounds: int, before: Run) -> dict[str, float]:
    times = side_by_side(runs, rounds, before=before)
    rates = {f"{name}, MB/s": read / statistics.median(seconds) / 1e6 for name, seconds in times.items()}
    return rates | {f"store over {name}": ratio(times, name, STORE) for name in runs if name != STORE}
