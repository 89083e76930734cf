"""Features of a whole split, computed once and kept on disk."""

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from vitrine.core.atomic_io import atomic_file, atomic_new_folder
from vitrine.core.batch import Batch, Features

MANIFEST = "manifest.json"
KEY_BYTES = 256


class FeatureExtractor(Protocol):
    """Gives the features that a head is fitted on."""

    @property
    def key(self) -> str:
        """Text that differs whenever the features could: weights, layer, pooling."""
        ...

    def __call__(self, images: Tensor) -> Features:
        """Features (B, d) and logits (B, C) of (B, 3, H, W) images."""
        ...


class FeatureStore:
    """Rows of Z and logits in memory-mapped files, filled by any number of processes, each its own rows.

    The folder's name is a digest of all that the features depend on: other weights, another layer, other preprocessing or
    other shards make another folder. A row counts once its flag in ``done.npy`` is set, so that an interrupted pass goes
    on where it stood.

    Args:
        cache: where stores lie.
        metadata: what the features depend on, as text by name; kept in ``manifest.json``.
        rows: number of samples.
    """

    def __init__(self, cache: Path, metadata: dict[str, str], rows: int) -> None:
        digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode()).hexdigest()
        self.folder = Path(cache) / digest[:16]
        self.metadata = metadata
        self.rows = rows

    @property
    def is_complete(self) -> bool:
        """Whether every row was computed."""
        return (self.folder / MANIFEST).is_file()

    def missing_rows(self) -> NDArray[np.bool_]:
        """(rows,) true for those that are still to be computed."""
        path = self.folder / "done.npy"
        return ~np.load(path) if path.is_file() else np.ones(self.rows, dtype=bool)

    def allocate(self, width: int, classes: int, label_shape: tuple[int, ...]) -> None:
        """Makes the files, where an earlier pass or another run has not; one process does this."""
        entries: dict[str, tuple[tuple[int, ...], Any]] = {
            "features": ((self.rows, width), np.float32),
            "logits": ((self.rows, classes), np.float32),
            "labels": ((self.rows, *label_shape), np.float32 if label_shape else np.int64),
            "keys": ((self.rows,), np.dtype(f"S{KEY_BYTES}")),
            "done": ((self.rows,), np.bool_),
        }
        create: Any = np.lib.format.open_memmap  # in some releases of numpy it has no types
        with suppress(FileExistsError), atomic_new_folder(self.folder) as partial:
            for name, (shape, dtype) in entries.items():
                create(partial / f"{name}.npy", mode="w+", dtype=dtype, shape=shape).flush()

    def fill(
        self,
        batches: Iterable[Batch],
        extractor: FeatureExtractor,
        device: torch.device,
        title: str | None = None,
        total: int | None = None,
    ) -> None:
        """Computes the rows of the batches, which hold their rows under ``row``.

        Args:
            batches: with image, label, key and row.
            extractor: computes the features.
            device: where it lies.
            title: of the progress bar; none is shown without it.
            total: samples to come, for the progress bar.

        Raises:
            ValueError: for a key longer than a store holds.
        """
        files = {name: np.load(self.folder / f"{name}.npy", mmap_mode="r+") for name in _FILES}
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(""),
            TimeRemainingColumn(),
        )
        with torch.no_grad(), Progress(*columns, disable=title is None) as progress:
            task = progress.add_task(title or "", total=total)
            for batch in batches:
                self._write(files, batch, extractor(batch["image"].to(device, non_blocking=True)))
                progress.advance(task, len(batch["key"]))

    def finish(self, *, samples: str) -> None:
        """Marks the store as whole, once all processes are done.

        Raises:
            ValueError: where rows are missing, such as after a shard lost samples.
        """
        missing = np.flatnonzero(self.missing_rows())
        if len(missing):
            raise ValueError(
                f"{len(missing)} of {self.rows} samples of {samples} gave no features, the first of them row {missing[0]};"
                f" run python -m vitrine.shards verify {samples}."
            )
        with atomic_file(self.folder / MANIFEST) as partial:
            partial.write_text(json.dumps({**self.metadata, "rows": self.rows}, indent=2) + "\n", encoding="utf-8")

    def read(self) -> "FeatureTable":
        """The filled store."""
        return FeatureTable(self.folder)

    @staticmethod
    def _write(files: dict[str, Any], batch: Batch, computed: Features) -> None:
        rows = batch["row"].numpy()
        files["features"][rows] = computed["features"].float().cpu().numpy()
        files["logits"][rows] = computed["logits"].float().cpu().numpy()
        files["labels"][rows] = batch["label"].numpy()
        files["keys"][rows] = [_encoded(key) for key in batch["key"]]
        files["done"][rows] = True  # last: it vouches for the others, also when this process is killed in between


_FILES = ("features", "logits", "labels", "keys", "done")


def _encoded(key: str) -> bytes:
    data = key.encode()
    if len(data) > KEY_BYTES:
        raise ValueError(
            f"The key {key} is longer than {KEY_BYTES} bytes; shorten the path, or set data.init_args.features.cache: false."
        )
    return data


class _Rate(TextColumn):
    """Images a second."""

    def render(self, task: Any) -> Any:
        """The rate so far."""
        speed = task.finished_speed or task.speed
        return f"{speed:.1f} images/s" if speed else ""


class FeatureTable:
    """A filled store, read a batch at a time; the files are mapped, so that all processes share one copy in memory.

    Args:
        folder: of the store.
    """

    def __init__(self, folder: Path) -> None:
        self.features, self.logits, self.labels, self.keys = (
            np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in _FILES[:4]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, rows: Tensor) -> Batch:
        """The rows, in the given order, as one batch of features."""
        index = rows.numpy()
        return Batch(
            key=[key.decode(errors="replace") for key in self.keys[index].tolist()],
            features=torch.from_numpy(self.features[index]),
            logits=torch.from_numpy(self.logits[index]),
            label=torch.from_numpy(self.labels[index]),
        )
