"""Computes the rows of a chunk: features, logits, labels and keys of consecutive samples, from batches of images."""

from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from vitrine.core.batch import Batch, Features
from vitrine.data.feature_store.manifest import Manifest


class FeatureExtractor(Protocol):
    """Computes the features that a head is fitted on.

    `vitrine.features` lists a store with what its extractor has under ``belongs_to``, where it has that: texts under
    ``network``, ``weights`` and ``layer``.
    """

    @property
    def key(self) -> str:
        """Cache key: a text that differs whenever the features could differ (weights, code, layer, pooling)."""
        ...

    def __call__(self, images: Tensor) -> Features:
        """Features (B, d) and logits (B, C) of (B, 3, H, W) images."""
        ...


class ChunkRows:
    """The rows of one chunk, as they are computed one batch after the other.

    Args:
        manifest: of the store.
        chunk: number of the chunk.
    """

    def __init__(self, manifest: Manifest, chunk: int) -> None:
        self.manifest, self.rows = manifest, manifest.rows_of(chunk)
        label_type = torch.float32 if manifest.label_shape else torch.int64
        self.tensors = {
            "features": torch.empty(len(self.rows), manifest.width, dtype=manifest.torch_type),
            "logits": torch.empty(len(self.rows), manifest.classes),
            "labels": torch.empty(len(self.rows), *manifest.label_shape, dtype=label_type),
        }
        self.keys: list[str] = []

    def compute(
        self,
        batches: Iterator[Batch],
        extractor: FeatureExtractor,
        device: torch.device,
        advance: Callable[[int], None],
    ) -> None:
        """Takes as many batches as the chunk's rows fill, and computes their features.

        Args:
            batches: with image, label, key and row, of which the next is the chunk's first.
            extractor: computes the features.
            device: that of the extractor.
            advance: told the number of samples after each batch.

        Raises:
            ValueError: where samples are missing, features are too large for their type, or something is not finite.
        """
        while len(self.keys) < len(self.rows):
            batch = self._checked(next(batches, None))
            self._put(batch, extractor(batch["image"].to(device, non_blocking=True)))
            advance(len(batch["key"]))

    def _put(self, batch: Batch, computed: Features) -> None:
        place = slice(len(self.keys), len(self.keys) + len(batch["key"]))
        for name, values in computed.items():
            self._check_finite(name, values, batch)
        self.tensors["features"][place] = self._stored(computed["features"])
        self.tensors["logits"][place] = computed["logits"].float().cpu()
        self.tensors["labels"][place] = batch["label"]
        self.keys += batch["key"]

    def _check_finite(self, name: str, values: object, batch: Batch) -> None:
        """Refuses numbers that a head would be fitted to without a word."""
        if isinstance(values, Tensor) and not (finite := values.isfinite().flatten(1).all(dim=1)).all():
            key = batch["key"][int(finite.logical_not().nonzero()[0])]
            raise ValueError(
                f"The {name} of the sample {key} are not finite: check the network's weights and its precision with this"
                " image; nothing of its chunk was stored."
            )

    def _checked(self, batch: Batch | None) -> Batch:
        """The next batch, if it has the rows that come next."""
        expected = self.rows[len(self.keys) :]
        found = [] if batch is None else batch["row"].tolist()
        if batch is not None and found and found == list(expected[: len(found)]):
            return batch
        split = self.manifest.belongs_to.get("split", "the split")
        raise ValueError(
            f"Sample {expected[0]} of {split} is missing, {f'{found[0]} came' if found else 'none came'} in its place;"
            f" run python -m vitrine.shards verify {split}."
        )

    def _stored(self, features: Tensor) -> Tensor:
        """Features as they are stored; a type of few bits may not hold their largest."""
        stored = features.to(self.manifest.torch_type)
        if stored.dtype == torch.float16 and features.isfinite().all() and not stored.isfinite().all():
            largest = features.abs().max().item()
            raise ValueError(
                f"Features go up to {largest:.3g}, which {self.manifest.dtype} cannot hold; set"
                " data.init_args.features.dtype to bfloat16 or float32."
            )
        return stored.cpu()
