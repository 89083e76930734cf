"""Feature table: the features of a complete store, read by rows from chunks that are mapped into memory."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vitrine.core.batch import Batch
from vitrine.core.memory import free_bytes
from vitrine.data.feature_store.chunk_file import ChunkArrays, chunk_name, open_chunk
from vitrine.data.feature_store.manifest import read_manifest
from vitrine.data.feature_store.read_ahead import read_rows, read_rows_alone, read_whole

Indices = NDArray[np.int64]
Gathered = tuple[list[bytes], NDArray[Any], NDArray[Any], NDArray[Any]]
"""Keys, features, logits and labels of the samples of a batch."""
MAX_OPEN_CHUNKS = 4096
"""Chunks that stay mapped, the last used; it bounds mappings and address space, not memory, which the system shares."""

AHEAD_BYTES = 32 * 2**20
"""How much of a store is asked for ahead of what is read in order."""


class FeatureTable:
    """The features of a complete store, read in batches; processes share one copy in the system's page cache.

    Chunks are read ahead as a whole, of a store larger than memory in order alone; where its rows come in another order, all
    those of a batch are asked for at once.

    Args:
        folder: that of the store.
        max_open_chunks: chunks that stay mapped.
        fits_memory: whether all of it stays in the page cache; found by its size and what is free, without it.

    Raises:
        FileNotFoundError: where the folder is no store, or chunks are missing.
        ValueError: where it is a store of an earlier format.
    """

    def __init__(self, folder: Path, max_open_chunks: int = MAX_OPEN_CHUNKS, fits_memory: bool | None = None) -> None:
        self.folder = folder
        self.manifest = read_manifest(folder)
        self.max_open_chunks = max_open_chunks
        free = free_bytes(torch.device("cpu"))
        size = self.manifest.rows * self.manifest.row_bytes
        self.fits_memory = (free is None or size <= free) if fits_memory is None else fits_memory
        self._open: OrderedDict[int, ChunkArrays] = OrderedDict()
        self._asked: dict[int, str] = {}  # of the system, by chunk; read chunks may be gone again
        for number in range(self.manifest.num_chunks):
            if not (folder / chunk_name(number)).is_file():
                raise FileNotFoundError(
                    f"{folder / chunk_name(number)} is missing; fit, which computes what is missing."
                )

    def __len__(self) -> int:
        return self.manifest.rows

    @cached_property
    def labels(self) -> NDArray[Any]:
        """(N,) class indices or (N, C) multi-hot labels of all samples."""
        return np.concatenate([self._chunk(number).labels for number in range(self.manifest.num_chunks)])

    def batch(self, rows: Tensor) -> Batch:
        """A batch with the features of the samples at (B,) rows, in this order; features are float32."""
        index: Indices = rows.numpy()
        if len(index) and not 0 <= index.min() <= index.max() < len(self):
            raise IndexError(f"row {index.max()} or {index.min()} is none of the {len(self)} rows of {self.folder}.")
        numbers, places = np.divmod(index, self.manifest.chunk_rows)
        chunks = self._chunks(index, numbers, places)
        keys, features, logits, labels = _gathered(chunks, numbers, places)
        return Batch(
            key=[key.decode(errors="surrogateescape") for key in keys],
            features=self._as_float(torch.from_numpy(features)),
            logits=torch.from_numpy(logits),
            label=torch.from_numpy(labels),
        )

    def _chunks(self, index: Indices, numbers: Indices, places: Indices) -> dict[int, ChunkArrays]:
        """The chunks with these numbers, of which what a batch reads is on its way; in order, the next ones too."""
        in_order = len(index) > 1 and bool((np.diff(index) == 1).all())
        if in_order:
            self._read_in_order(int(numbers[0]), int(numbers[-1]))
        elif self.fits_memory:
            self._ask_for_whole(np.unique(numbers).tolist())
        chunks = {number: self._chunk(number) for number in set(numbers.tolist()) or {0}}
        if not in_order and not self.fits_memory:
            for number, chunk in chunks.items():
                if self._asked.get(number) != "rows":
                    read_rows_alone(chunk)
                    self._asked[number] = "rows"
            read_rows([chunks[number] for number in numbers.tolist()], places.tolist())
        return chunks

    def _read_in_order(self, first: int, last: int) -> None:
        ahead = max(AHEAD_BYTES // (self.manifest.chunk_rows * self.manifest.row_bytes), 1)
        needed = range(first, min(last + 1 + ahead, self.manifest.num_chunks))
        self._ask_for_whole(needed)
        if not self.fits_memory:  # what was read whole may be gone again
            self._asked = {number: how for number, how in self._asked.items() if how == "rows" or number in needed}

    def _ask_for_whole(self, numbers: Iterable[int]) -> None:
        new = [number for number in numbers if self._asked.get(number) != "whole"]
        read_whole([self.folder / chunk_name(number) for number in new])
        for number in new:
            if self._asked.get(number) == "rows":
                self._open.pop(number, None)  # mapped anew, without the advice for single rows
            self._asked[number] = "whole"

    def _chunk(self, number: int) -> ChunkArrays:
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        chunk = self._open[number] = open_chunk(self.folder / chunk_name(number), self.manifest.shapes_of(number))
        if len(self._open) > self.max_open_chunks:
            closed, _ = self._open.popitem(last=False)
            self._asked.pop(closed, None)
        return chunk

    def _as_float(self, stored: Tensor) -> Tensor:
        return (stored.view(torch.bfloat16) if stored.dtype == torch.int16 else stored).float()

    def __getstate__(self) -> dict[str, Any]:
        """Without what is mapped, which another process maps for itself."""
        return {**self.__dict__, "_open": OrderedDict(), "_asked": {}}


def _gathered(chunks: dict[int, ChunkArrays], numbers: Indices, places: Indices) -> Gathered:
    """Samples at places of the chunks with these numbers, copied piece by piece: those of one chunk together."""
    back: Indices | slice = slice(None)
    if (np.diff(numbers) < 0).any():
        order = np.argsort(numbers, kind="stable")
        numbers, places, back = numbers[order], places[order], np.argsort(order)
    bounds = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
    pieces = [
        (chunks[int(numbers[start]) if len(numbers) else 0], _rows(places[start:stop]))
        for start, stop in pairwise(bounds)
    ]
    keys, features, logits, labels = (
        _joined([getattr(chunk, name)[rows] for chunk, rows in pieces])[back]
        for name in ("keys", "features", "logits", "labels")
    )
    return keys.tolist(), features, logits, labels


def _rows(places: Indices) -> slice | Indices:
    """Places in a chunk; as one piece where they follow one another."""
    first, last = (int(places[0]), int(places[-1])) if len(places) else (0, -1)
    follow = last - first == len(places) - 1 and (len(places) < 3 or bool((np.diff(places) == 1).all()))
    return slice(first, last + 1) if follow else places


def _joined(pieces: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Rows of chunks as one array that is no view of any."""
    if len(pieces) > 1:
        return np.concatenate(pieces)
    return pieces[0] if pieces[0].base is None else pieces[0].copy()
