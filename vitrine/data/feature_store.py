"""Feature store: features of a whole split, computed once and cached on disk as memory-mapped arrays."""

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vitrine.core.atomic_io import atomic_file, atomic_new_folder
from vitrine.core.batch import Batch, Features
from vitrine.core.progress import progress_bar

MANIFEST = "manifest.json"
KEY_BYTES = 256


class FeatureExtractor(Protocol):
    """Computes the features that a head is fitted on."""

    @property
    def key(self) -> str:
        """Cache key: a text that differs whenever the features could differ (weights, layer, pooling)."""
        ...

    def __call__(self, images: Tensor) -> Features:
        """Features (B, d) and logits (B, C) of (B, 3, H, W) images."""
        ...


class FeatureStore:
    """Features Z and logits of the samples of a split in memory-mapped files, filled by any number of processes.

    The folder's name is a digest of all that the features depend on: other weights, another layer, other preprocessing or
    other shards have another folder. A sample is complete once its flag in ``done.npy`` is set, so that an interrupted pass
    can be continued.

    Args:
        cache: folder of all stores.
        metadata: what the features depend on, as text by name; recorded in ``manifest.json``.
        n_samples: number of samples.

    Example:
        >>> import tempfile
        >>> class Mean:
        ...     key = "mean"
        ...     def __call__(self, images):
        ...         return Features(features=images.mean(dim=(2, 3)), logits=images.mean(dim=(1, 2, 3))[:, None])
        >>> rows, images = torch.tensor([0, 1]), torch.rand(2, 3, 8, 8)
        >>> batch = Batch(key=["a", "b"], row=rows, image=images, label=torch.tensor([3, 7]))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = FeatureStore(Path(folder), {"features": Mean.key}, n_samples=2)
        ...     store.allocate(width=3, num_classes=1, label_shape=())
        ...     store.fill([batch], Mean(), torch.device("cpu"))
        ...     store.finish(samples="train")
        ...     store.read().batch(torch.tensor([1]))["features"].shape
        torch.Size([1, 3])
    """

    def __init__(self, cache: Path, metadata: dict[str, str], n_samples: int) -> None:
        digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode()).hexdigest()
        self.folder = Path(cache) / digest[:16]
        self.metadata = metadata
        self.n_samples = n_samples

    @property
    def is_complete(self) -> bool:
        """Whether the features of every sample are stored."""
        return (self.folder / MANIFEST).is_file()

    def missing_samples(self) -> NDArray[np.bool_]:
        """(n_samples,) True for the samples that are still to be computed."""
        path = self.folder / "done.npy"
        return ~np.load(path) if path.is_file() else np.ones(self.n_samples, dtype=bool)

    def allocate(self, width: int, num_classes: int, label_shape: tuple[int, ...]) -> None:
        """Creates the files unless they exist; to be called by one process.

        Args:
            width: d, the number of features.
            num_classes: C, the number of logits.
            label_shape: shape of one sample's label.
        """
        entries: dict[str, tuple[tuple[int, ...], Any]] = {
            "features": ((self.n_samples, width), np.float32),
            "logits": ((self.n_samples, num_classes), np.float32),
            "labels": ((self.n_samples, *label_shape), np.float32 if label_shape else np.int64),
            "keys": ((self.n_samples,), np.dtype(f"S{KEY_BYTES}")),
            "done": ((self.n_samples,), np.bool_),
        }
        create: Any = np.lib.format.open_memmap  # untyped in some releases of numpy
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
        """Computes and stores the features of batches.

        Args:
            batches: with image, label, key, and under ``row`` the indices of the samples in the split.
            extractor: computes the features.
            device: that of the extractor.
            title: of the progress bar; no bar is shown without it.
            total: number of samples in the batches, for the progress bar.

        Raises:
            ValueError: for a key of more than ``KEY_BYTES`` bytes.
        """
        files = {name: np.load(self.folder / f"{name}.npy", mmap_mode="r+") for name in _FILES}
        bar = progress_bar(title or "", total, shown=title is not None, unit="images")
        with torch.no_grad(), bar as advance:
            for batch in batches:
                self._write(files, batch, extractor(batch["image"].to(device, non_blocking=True)))
                advance(len(batch["key"]))

    def finish(self, *, samples: str) -> None:
        """Marks the store as complete, once all processes have filled it.

        Raises:
            ValueError: where samples are missing, such as after a shard lost some.
        """
        missing = np.flatnonzero(self.missing_samples())
        if len(missing):
            raise ValueError(
                f"{len(missing)} of {self.n_samples} samples of {samples} have no features, the first is sample {missing[0]};"
                f" run python -m vitrine.shards verify {samples}."
            )
        with atomic_file(self.folder / MANIFEST) as partial:
            partial.write_text(json.dumps({**self.metadata, "rows": self.n_samples}, indent=2) + "\n", encoding="utf-8")

    def read(self) -> "FeatureTable":
        """The features of a complete store."""
        return FeatureTable(self.folder)

    @staticmethod
    def _write(files: dict[str, Any], batch: Batch, computed: Features) -> None:
        indices = batch["row"].numpy()
        files["features"][indices] = computed["features"].float().cpu().numpy()
        files["logits"][indices] = computed["logits"].float().cpu().numpy()
        files["labels"][indices] = batch["label"].numpy()
        files["keys"][indices] = [_encode(key) for key in batch["key"]]
        files["done"][indices] = (
            True  # last, so that it is true of the others also if this process is killed in between
        )


_FILES = ("features", "logits", "labels", "keys", "done")


def _encode(key: str) -> bytes:
    data = key.encode()
    if len(data) > KEY_BYTES:
        raise ValueError(
            f"The key {key} is longer than {KEY_BYTES} bytes; shorten the path, or set data.init_args.features.cache: false."
        )
    return data


class FeatureTable:
    """The features of a complete store, read in batches; the files are memory-mapped, so that processes share one copy.

    Args:
        folder: that of the store.
    """

    def __init__(self, folder: Path) -> None:
        self.features, self.logits, self.labels, self.keys = (
            np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in _FILES[:4]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, sample_indices: Tensor) -> Batch:
        """A batch with the features of the samples at the (B,) indices, in this order."""
        index = sample_indices.numpy()
        return Batch(
            key=[key.decode(errors="replace") for key in self.keys[index].tolist()],
            features=torch.from_numpy(self.features[index]),
            logits=torch.from_numpy(self.logits[index]),
            label=torch.from_numpy(self.labels[index]),
        )
