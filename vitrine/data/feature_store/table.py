"""Feature table: the features of a complete store, read by rows from chunks that are mapped into memory."""

from collections import OrderedDict
from collections.abc import Iterator
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
        index: NDArray[np.int64] = rows.numpy()
        features, logits, labels = (self._empty(len(index), field) for field in ("features", "logits", "labels"))
        keys = [""] * len(index)
        for places, chunk, within in self._by_chunk(index):
            features[places], logits[places] = chunk.features[within], chunk.logits[within]
            labels[places] = chunk.labels[within]
            for place, row in zip(places.tolist(), within.tolist(), strict=True):
                keys[place] = chunk.key(row)
        return Batch(
            key=keys,
            features=self._as_float(torch.from_numpy(features)),
            logits=torch.from_numpy(logits),
            label=torch.from_numpy(labels),
        )

    def _by_chunk(self, index: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], ChunkArrays, NDArray[np.int64]]]:
        """For each chunk that has some of the rows: their places in the batch, the chunk, and their places in it."""
        if len(index) and not 0 <= index.min() <= index.max() < len(self):
            raise IndexError(f"row {index.max()} or {index.min()} is none of the {len(self)} rows of {self.folder}.")
        numbers, within = np.divmod(index, self.manifest.chunk_rows)
        order = np.argsort(numbers, kind="stable")
        first = np.flatnonzero(np.diff(numbers[order], prepend=-1))
        for places in np.split(order, first[1:]) if len(index) else ():
            yield places, self._chunk(int(numbers[places[0]])), within[places]

    def _chunk(self, number: int) -> ChunkArrays:
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        chunk = self._open[number] = open_chunk(self.folder / chunk_name(number))
        if len(self._open) > self.max_open_chunks:
            self._open.popitem(last=False)
        return chunk

    def _empty(self, count: int, field: str) -> NDArray[Any]:
        stored: NDArray[Any] = getattr(self._chunk(0), field)
        return np.empty((count, *stored.shape[1:]), dtype=stored.dtype)

    def _as_float(self, stored: Tensor) -> Tensor:
        return (stored.view(torch.bfloat16) if stored.dtype == torch.int16 else stored).float()

    def __getstate__(self) -> dict[str, Any]:
        """Without what is mapped, which another process maps for itself."""
        return {**self.__dict__, "_open": OrderedDict()}
