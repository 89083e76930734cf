"""Feature stores of made-up images: image n has the value n in every pixel, so that its features are known."""

import os
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitrine.core.batch import Batch, Features
from vitrine.data.feature_store import FeatureStore

DEPENDS_ON = {"features": "weights layer4 average", "preprocessing": "224", "shards": "aa bb"}
CPU = torch.device("cpu")
WIDTH, CLASSES = 4, 2


class Sums:
    """Features and logits that repeat the image's value; counts images, and may kill its process after some of them."""

    key = "sums"

    def __init__(self, limit: int | None = None) -> None:
        self.images, self.limit = 0, limit

    def __call__(self, images: Tensor) -> Features:
        if self.limit is not None and self.images + len(images) > self.limit:
            os.kill(os.getpid(), signal.SIGKILL)
        self.images += len(images)
        values = images[:, 0, 0, 0]
        return Features(features=values[:, None].repeat(1, WIDTH), logits=-values[:, None].repeat(1, CLASSES))


def batch_of(rows: Any, labels: Tensor | None = None) -> Batch:
    """Images of the given rows, labelled with them unless labels are given."""
    rows = torch.as_tensor(rows)
    images = rows.float()[:, None, None, None].expand(len(rows), 3, 2, 2)
    label = rows if labels is None else labels[rows]
    return Batch(key=[f"sample {row}" for row in rows.tolist()], row=rows, image=images, label=label)


def store_of(cache: Path, count: int, **options: Any) -> FeatureStore:
    """A store of that many samples, not created yet."""
    return FeatureStore(cache, DEPENDS_ON, count, **options)


def filled(
    store: FeatureStore, chunks: Iterable[int] | None = None, extractor: Any = None, labels: Tensor | None = None
) -> FeatureStore:
    """Creates a store with chunks of four samples, and computes some of them, all that are missing by default."""
    store.create(WIDTH, CLASSES, () if labels is None else labels.shape[1:], chunk_rows=4)
    chunks = store.missing_chunks() if chunks is None else list(chunks)
    batches = (batch_of(rows, labels) for rows in store.batches_of(chunks, batch_size=3))
    store.fill(chunks, batches, extractor or Sums(), CPU)
    return store


def content_of(store: FeatureStore) -> dict[str, bytes]:
    """The bytes of each chunk file."""
    return {path.name: path.read_bytes() for path in sorted(store.folder.glob("chunk-*"))}


def flip_byte(path: Path, place: int = -5) -> None:
    """Changes one byte of a file, and keeps its size."""
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def fill_share(cache: str, count: int, rank: int, world_size: int, limit: int | None) -> None:
    """Creates a store and computes every so manieth missing chunk; for a process of its own."""
    store = store_of(Path(cache), count)
    store.create(WIDTH, CLASSES, (), chunk_rows=4)
    filled(store, store.missing_chunks()[rank::world_size], Sums(limit))
