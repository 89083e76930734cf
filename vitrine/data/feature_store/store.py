"""FeatureStore: computes what is missing of a split's features, chunk by chunk, and says what is missing or damaged."""

import hashlib
import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vitrine.core.atomic_io import atomic_file
from vitrine.core.batch import Batch
from vitrine.core.progress import progress_bar
from vitrine.data.feature_store.background_writer import BackgroundWriter
from vitrine.data.feature_store.checking import damaged_chunks, mark_used
from vitrine.data.feature_store.chunk_file import chunk_name, encode_chunk, write_reserved
from vitrine.data.feature_store.computing import ChunkRows, FeatureExtractor
from vitrine.data.feature_store.disk_space import check_space, reserve, told_where_full
from vitrine.data.feature_store.manifest import (
    EXTRACTION_VERSION,
    STORE_FORMAT,
    FeatureType,
    Manifest,
    read_manifest,
    rows_per_chunk,
)
from vitrine.data.feature_store.table import FeatureTable

Rows = NDArray[np.int64]
"""Rows of one batch: places of its samples in the split."""


class FeatureStore:
    """Features Z and logits of the samples of a split in chunk files, filled by any number of processes.

    The folder's name is a digest of all that the features depend on: other weights, another layer, other preprocessing or
    other shards have another folder. One process computes a chunk as a whole and renames it into place, so that an
    interrupted pass is continued with the chunks that are missing, and a store is complete once all are there.

    Args:
        cache: folder of all stores.
        depends_on: what the features depend on, as text by name; recorded in ``manifest.json``.
        n_samples: number of samples.
        dtype: in which features are stored.
        belongs_to: what the store is made for, as text by name; recorded for `vitrine.features`.

    Example:
        >>> import tempfile
        >>> class Mean:
        ...     key = "mean"
        ...     def __call__(self, images):
        ...         return {"features": images.mean(dim=(2, 3)), "logits": images.mean(dim=(1, 2, 3))[:, None]}
        >>> rows, images = torch.tensor([0, 1]), torch.rand(2, 3, 8, 8)
        >>> batch = Batch(key=["a", "b"], row=rows, image=images, label=torch.tensor([3, 7]))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = FeatureStore(Path(folder), {"features": Mean.key}, n_samples=2)
        ...     store.create(width=3, num_classes=1, label_shape=())
        ...     store.fill(store.missing_chunks(), [batch], Mean(), torch.device("cpu"))
        ...     store.read().batch(torch.tensor([1]))["features"].shape
        torch.Size([1, 3])
    """

    def __init__(
        self,
        cache: Path,
        depends_on: Mapping[str, str],
        n_samples: int,
        dtype: FeatureType = "float32",
        belongs_to: Mapping[str, str] | None = None,
    ) -> None:
        self.depends_on = {
            **depends_on,
            "dtype": dtype,
            "extraction": str(EXTRACTION_VERSION),
            "format": str(STORE_FORMAT),
        }
        digest = hashlib.sha256(json.dumps(self.depends_on, sort_keys=True).encode()).hexdigest()
        self.folder = Path(cache) / digest[:16]
        self.lock = self.folder.with_name(f"{digest[:16]}.lock")
        self.n_samples, self.dtype = n_samples, dtype
        self.belongs_to = dict(belongs_to or {})

    @property
    def exists(self) -> bool:
        """Whether the store was created; chunks may be missing. One with a damaged manifest has to be created again."""
        try:
            manifest = self.manifest
        except (FileNotFoundError, ValueError):
            return False
        return (manifest.depends_on, manifest.rows, manifest.dtype) == (self.depends_on, self.n_samples, self.dtype)

    @property
    def manifest(self) -> Manifest:
        """What the store holds; its errors are those of `read_manifest`."""
        return read_manifest(self.folder)

    @property
    def n_stored(self) -> int:
        """Number of samples whose chunks are there, whether or not they are damaged."""
        if not self.exists:
            return 0
        manifest = self.manifest
        there = [n for n in range(manifest.num_chunks) if (self.folder / chunk_name(n)).is_file()]
        return sum(len(manifest.rows_of(number)) for number in there)

    def create(self, width: int, num_classes: int, label_shape: Sequence[int], chunk_rows: int | None = None) -> None:
        """Creates the store without chunks, unless it exists.

        Args:
            width: d, the number of features.
            num_classes: C, the number of logits.
            label_shape: shape of one sample's label.
            chunk_rows: samples in each chunk; chosen by their number and size without it.

        Raises:
            ValueError: where the disk is full.
        """
        if self.exists:
            return
        shape = list(label_shape)
        rows = chunk_rows or rows_per_chunk(self.n_samples, width, num_classes, shape, self.dtype)
        created = datetime.now(UTC).isoformat(timespec="seconds")
        manifest = Manifest(
            self.depends_on, self.n_samples, rows, width, num_classes, shape, self.dtype, self.belongs_to, created
        )
        with told_where_full(self.folder, self.n_samples * manifest.row_bytes):
            manifest.write(self.folder)

    def missing_chunks(self, *, shown: bool = False) -> list[int]:
        """Numbers of the chunks that are still to be computed: absent, or damaged, of which a warning tells.

        A chunk is read and its checksum compared, unless that was done before and its file did not change since.

        Args:
            shown: whether a progress bar is drawn where there is something to read.
        """
        damaged = damaged_chunks(self.folder, shown=shown)
        if damaged:
            first, what = next(iter(damaged.items()))
            warnings.warn(
                f"{len(damaged)} damaged chunks of {self.folder} are computed again; {chunk_name(first)} {what}.",
                stacklevel=2,
            )
        absent = {n for n in range(self.manifest.num_chunks) if not (self.folder / chunk_name(n)).is_file()}
        return sorted(absent | damaged.keys())

    def check_space(self, chunks: Sequence[int]) -> None:
        """Checks that chunks fit on the disk.

        Raises:
            ValueError: where they do not.
        """
        manifest = self.manifest
        check_space(self.folder, sum(len(manifest.rows_of(chunk)) for chunk in chunks) * manifest.row_bytes)

    def batches_of(self, chunks: Sequence[int], batch_size: int) -> list[Rows]:
        """Rows of the batches from which `fill` computes chunks: in order, and no batch from two chunks."""
        manifest = self.manifest
        ranges = [np.arange(rows.start, rows.stop) for rows in map(manifest.rows_of, chunks)]
        return [rows[start : start + batch_size] for rows in ranges for start in range(0, len(rows), batch_size)]

    def fill(
        self,
        chunks: Sequence[int],
        batches: Iterable[Batch],
        extractor: FeatureExtractor,
        device: torch.device,
        title: str | None = None,
    ) -> None:
        """Computes and stores chunks; a chunk appears once it is whole, while the next one is computed.

        Args:
            chunks: their numbers.
            batches: with image, label, key and row, in the order of `batches_of`.
            extractor: computes the features.
            device: that of the extractor.
            title: of the progress bar; no bar is shown without it.

        Raises:
            ValueError: where samples are missing, such as after a shard lost some, where the disk is full, or where features
                are too large for the type in which they are stored.
        """
        manifest = self.manifest
        total = sum(len(manifest.rows_of(chunk)) for chunk in chunks)
        bar = progress_bar(title or "", total, shown=title is not None, unit="images")
        source = iter(batches)
        with torch.no_grad(), bar as advance, BackgroundWriter() as writer:
            for chunk in chunks:
                rows, origin = ChunkRows(manifest, chunk), manifest.origin_of(chunk, self.folder.name)
                with ExitStack() as unfinished:
                    path = unfinished.enter_context(atomic_file(self.folder / chunk_name(chunk)))
                    reserve(path, len(rows.rows) * manifest.row_bytes)
                    rows.compute(source, extractor, device, advance)
                    writer.finish(unfinished, partial(_write, path, rows, origin))

    def read(self) -> FeatureTable:
        """The features of a complete store, which is noted as used now.

        Raises:
            FileNotFoundError: where it is not complete.
        """
        table = FeatureTable(self.folder)
        mark_used(self.folder)
        return table


def _write(path: Path, rows: ChunkRows, origin: str) -> None:
    write_reserved(path, encode_chunk(rows.tensors, rows.keys, origin))
