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
from vitrine.data.feature_store.chunk_file import ChunkArrays, chunk_name, open_chunk
from vitrine.data.feature_store.manifest import read_manifest

Indices = NDArray[np.int64]
Gathered = tuple[list[bytes], NDArray[Any], NDArray[Any], NDArray[Any]]
"""Keys, features, logits and labels of the samples of a batch."""
MAX_OPEN_CHUNKS = 2048
"""Chunks that stay mapped, the last used; it bounds mappings and address space, not memory, which the system shares."""


class FeatureTable:
    """The features of a complete store, read in batches; processes share one copy in the system's page cache.

    Args:
        folder: that of the store.
        max_open_chunks: chunks that stay mapped.

    Raises:
        FileNotFoundError: where the folder is no store, or chunks are missing.
        ValueError: where it is a store of an earlier format.
    """

    def __init__(self, folder: Path, max_open_chunks: int = MAX_OPEN_CHUNKS) -> None:
        self.folder = folder
        self.manifest = read_manifest(folder)
        self.max_open_chunks = max_open_chunks
        self._open: OrderedDict[int, ChunkArrays] = OrderedDict()
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
        chunks = {number: self._chunk(number) for number in {0, *numbers.tolist()}}
        keys, features, logits, labels = _gathered(chunks, numbers, places)
        return Batch(
            key=[key.decode(errors="surrogateescape") for key in keys],
            features=self._as_float(torch.from_numpy(features)),
            logits=torch.from_numpy(logits),
            label=torch.from_numpy(labels),
        )

    def _chunk(self, number: int) -> ChunkArrays:
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        chunk = self._open[number] = open_chunk(self.folder / chunk_name(number), self.manifest.shapes_of(number))
        if len(self._open) > self.max_open_chunks:
            self._open.popitem(last=False)
        return chunk

    def _as_float(self, stored: Tensor) -> Tensor:
        return (stored.view(torch.bfloat16) if stored.dtype == torch.int16 else stored).float()

    def __getstate__(self) -> dict[str, Any]:
        """Without what is mapped, which another process maps for itself."""
        return {**self.__dict__, "_open": OrderedDict()}


def _gathered(chunks: dict[int, ChunkArrays], numbers: Indices, places: Indices) -> Gathered:
    """Samples at places of the chunks with these numbers; one copy of each, as from one array."""
    if len(numbers) == 0 or (numbers == numbers[0]).all():
        chunk = chunks[int(numbers[0]) if len(numbers) else 0]
        return chunk.keys[places].tolist(), chunk.features[places], chunk.logits[places], chunk.labels[places]
    samples = [(chunks[number], place) for number, place in zip(numbers.tolist(), places.tolist(), strict=True)]
    return (
        [chunk.keys[place] for chunk, place in samples],
        _stacked([chunk.features[place] for chunk, place in samples]),
        _stacked([chunk.logits[place] for chunk, place in samples]),
        _stacked([chunk.labels[place] for chunk, place in samples]),
    )


def _stacked(rows: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Rows of the same length, or numbers, as one array; ``np.stack`` takes longer, as it makes another array of each."""
    return np.concatenate(rows).reshape(len(rows), -1) if rows[0].ndim else np.array(rows)
