"""Computes the rows of a chunk: features, logits, labels and keys of consecutive samples, from batches of images."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from torch import Tensor

from vitrine.core.batch import Batch, Features
from vitrine.data.feature_store.manifest import Manifest


class FeatureExtractor(Protocol):
    """Computes the features that a head is fitted on.

    `vitrine.features` lists a store with what its extractor has under ``belongs_to``, where it has that: texts under
    ``network``, ``weights`` and ``layer``. Where it has ``many_passes``, it is called within that context, once a chunk.
    """

    @property
    def key(self) -> str:
        """Cache key: a text that differs whenever the features could differ (weights, code, layer, pooling)."""
        ...

    def __call__(self, images: Tensor) -> Features:
        """Features (B, d) and logits (B, C) of (B, 3, H, W) images."""
        ...


def many_passes_of(extractor: FeatureExtractor) -> AbstractContextManager[None]:
    """The context in which an extractor wants to be called many times; one that does nothing, where it has none."""
    context: AbstractContextManager[None] = getattr(extractor, "many_passes", nullcontext)()
    return context


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
        self._begun = 0

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
            advance: told the number of samples of each batch once it is stored.

        Raises:
            ValueError: where samples are missing, features are too large for their type, or something is not finite.
        """
        waiting: _Computed | None = None
        with many_passes_of(extractor):
            while self._begun < len(self.rows):
                batch = self._checked(next(batches, None))
                self._begun += len(batch["key"])
                # A device computes this batch while the one before is stored and the next one is read.
                begun = _Computed(batch, extractor(on_device(batch["image"], device)), self.manifest.torch_type)
                if waiting is not None:
                    self._put(waiting, advance)
                waiting = begun
        if waiting is not None:
            self._put(waiting, advance)

    def _put(self, computed: "_Computed", advance: Callable[[int], None]) -> None:
        batch, stored = computed.batch, computed.on_host()
        place = slice(len(self.keys), len(self.keys) + len(batch["key"]))
        for name, values in stored.items():
            if not _all_finite(values):
                self._refuse(name, computed)
            self.tensors[name][place] = values
        self.tensors["labels"][place] = batch["label"]
        self.keys += batch["key"]
        advance(len(batch["key"]))

    def _refuse(self, name: str, computed: "_Computed") -> None:
        """Refuses numbers that a head would be fitted to without a word, and those that a type of few bits cannot hold."""
        values = computed.values[name]
        finite = values.isfinite().flatten(1).all(dim=1)
        if finite.all():
            raise ValueError(
                f"Features go up to {values.abs().max().item():.3g}, which {self.manifest.dtype} cannot hold; set"
                " data.init_args.features.dtype to bfloat16 or float32."
            )
        key = computed.batch["key"][int(finite.logical_not().nonzero()[0])]
        raise ValueError(
            f"The {name} of the sample {key} are not finite: check the network's weights and its precision with this"
            " image; nothing of its chunk was stored."
        )

    def _checked(self, batch: Batch | None) -> Batch:
        """The next batch, if it has the rows that come next."""
        expected = self.rows[self._begun :]
        found = [] if batch is None else batch["row"].tolist()
        if batch is not None and found and found == list(expected[: len(found)]):
            return batch
        split = self.manifest.belongs_to.get("split", "the split")
        raise ValueError(
            f"Sample {expected[0]} of {split} is missing, {f'{found[0]} came' if found else 'none came'} in its place;"
            f" run python -m vitrine.shards verify {split}."
        )


class _Computed:
    """A batch's features and logits on their way to the host, as they are stored.

    Args:
        batch: whose they are.
        computed: by the extractor; a device may be at it still.
        stored: type of the stored features.
    """

    def __init__(self, batch: Batch, computed: Features, stored: torch.dtype) -> None:
        self.batch = batch
        self.values: dict[str, Tensor] = {"features": computed["features"], "logits": computed["logits"]}
        types = {"features": stored, "logits": torch.float32}
        # From CUDA, a copy that does not block lands in pinned memory, which may be read once the event has come.
        self._host = {
            name: one.to(types[name]).to("cpu", non_blocking=one.is_cuda) for name, one in self.values.items()
        }
        self._arrived = torch.cuda.Event() if computed["features"].is_cuda else None  # type: ignore[no-untyped-call]
        if self._arrived is not None:
            self._arrived.record(torch.cuda.current_stream(computed["features"].device))

    def on_host(self) -> dict[str, Tensor]:
        """The features and logits, waited for."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._host


def on_device(images: Tensor, device: torch.device) -> Tensor:
    """Images on a device; a GPU copies them from pinned memory, so that the kernels before are not waited for."""
    if device.type != "cuda" or images.is_cuda:
        return images.to(device)
    return images.pin_memory().to(device, non_blocking=True)


def _all_finite(values: Tensor) -> bool:
    """Whether no number is NaN or infinite; their sum says it for nearly all batches in one pass."""
    return bool(values.sum(dtype=torch.float32).isfinite()) or bool(values.isfinite().all())
