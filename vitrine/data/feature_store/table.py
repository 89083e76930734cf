"""Feature table: the features of a complete store, read by rows from chunks that are mapped into memory."""

from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
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
MAX_OPEN_CHUNKS = 2048
"""Chunks that stay mapped, the last used; it bounds mappings and address space, not memory, which the system shares."""


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
        self._ahead: tuple[int, ...] = ()  # chunks that were asked for as a whole, in order
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
        """The chunks with these numbers, of which what a batch reads is on its way; in order, the next one too."""
        chunks = {number: self._chunk(number) for number in set(numbers.tolist()) or {0}}
        if len(index) > 1 and (np.diff(index) == 1).all():
            self._read_in_order(int(numbers[-1]))
        elif not self.fits_memory:
            self._ahead = ()
            read_rows([chunks[number] for number in numbers.tolist()], places.tolist())
        return chunks

    def _read_in_order(self, number: int) -> None:
        needed = tuple(range(number, min(number + 2, self.manifest.num_chunks)))
        for one in needed:
            if one not in self._ahead:
                read_whole(self._chunk(one))
        self._ahead = needed

    def _chunk(self, number: int) -> ChunkArrays:
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        chunk = self._open[number] = open_chunk(self.folder / chunk_name(number), self.manifest.shapes_of(number))
        if self.fits_memory:
            read_whole(chunk)
        else:
            read_rows_alone(chunk)
        if len(self._open) > self.max_open_chunks:
            self._open.popitem(last=False)
        return chunk

    def _as_float(self, stored: Tensor) -> Tensor:
        return (stored.view(torch.bfloat16) if stored.dtype == torch.int16 else stored).float()

    def __getstate__(self) -> dict[str, Any]:
        """Without what is mapped, which another process maps for itself."""
        return {**self.__dict__, "_open": OrderedDict(), "_ahead": ()}


def _gathered(chunks: dict[int, ChunkArrays], numbers: Indices, places: Indices) -> Gathered:
    """Samples at places of the chunks with these numbers; one copy of each, as from one array."""
    if len(numbers) == 0 or (numbers == numbers[0]).all():
        chunk = chunks[int(numbers[0]) if len(numbers) else 0]
        keys, *others = (_copied(array, places) for array in (chunk.keys, chunk.features, chunk.logits, chunk.labels))
        return keys.tolist(), others[0], others[1], others[2]
    samples = [(chunks[number], place) for number, place in zip(numbers.tolist(), places.tolist(), strict=True)]
    return (
        [chunk.keys[place] for chunk, place in samples],
        _stacked([chunk.features[place] for chunk, place in samples]),
        _stacked([chunk.logits[place] for chunk, place in samples]),
        _stacked([chunk.labels[place] for chunk, place in samples]),
    )


def _copied(array: NDArray[Any], places: Indices) -> NDArray[Any]:
    """A copy of rows; in one piece where they follow one another."""
    if len(places) and places[-1] - places[0] == len(places) - 1 and (np.diff(places) == 1).all():
        return array[places[0] : places[-1] + 1].copy()
    return array[places]


def _stacked(rows: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Rows of the same length, or numbers, as one array; ``np.stack`` takes longer, as it makes another array of each."""
    return np.concatenate(rows).reshape(len(rows), -1) if rows[0].ndim else np.array(rows)
