"""Feature cache: the features of whole splits, computed once by all ranks together and read back from disk."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.utilities import rank_zero_info

from datamodules.options import FeatureCacheOptions
from datamodules.rank_zero import on_rank_zero
from datamodules.split import Rows, Split
from vitrine.core.batch import Batch
from vitrine.core.locks import LockOwner, file_lock
from vitrine.data.feature_store import FeatureExtractor, FeatureStore, FeatureTable
from vitrine.data.feature_store.checking import damaged_chunks, remove_leftovers
from vitrine.data.feature_store.chunk_file import chunk_name
from vitrine.data.feature_store.pass_options import TunedExtractor
from vitrine.data.preprocessing import Preprocessing

Shapes = tuple[int, int, tuple[int, ...]]
"""Number of features, number of logits, and shape of a label, of one sample."""


class FeatureCache:
    """What is cached of a data set's splits.

    Args:
        options: where the cache is.
        preprocessing: of the images that features are computed from.
        batches: gives the images of a split in batches of the given rows, in their order.
        batch_size: images whose features are computed at once.
    """

    def __init__(
        self,
        options: FeatureCacheOptions,
        preprocessing: Preprocessing,
        batches: Callable[[Split, Sequence[Rows]], Iterable[Batch]],
        batch_size: int,
    ) -> None:
        self.folder, self.options = Path(options.folder), options
        self.preprocessing = preprocessing
        self.batches = batches
        self.batch_size = batch_size

    def table(self, split: Split, extractor: FeatureExtractor, trainer: Trainer | None) -> FeatureTable:
        """The features of a split, computed first where they are missing or damaged; all ranks take part.

        A store that another run computes is waited for.

        Args:
            split: whose features.
            extractor: computes them.
            trainer: whose ranks compute them; without it they have to be there.

        Raises:
            FileNotFoundError: where they are not there, without a trainer.
            ValueError: where the split's tar files are not those of its index, the disk is full, or samples are missing.
        """
        store = self.store(split, extractor)
        if trainer is not None:
            with ExitStack() as stack:
                self._complete(store, split, TunedExtractor(extractor, self.options.compute), trainer, stack)
        elif store.exists and (damaged := damaged_chunks(store.folder)):
            number, what = next(iter(damaged.items()))
            raise ValueError(f"{store.folder / chunk_name(number)} {what}; fit again, which computes it anew.")
        return store.read()

    def store(self, split: Split, extractor: FeatureExtractor) -> FeatureStore:
        """The store of a split's features, which may not exist."""
        tuned = TunedExtractor(extractor, self.options.compute)
        depends_on = {
            "features": tuned.key,
            "preprocessing": self.preprocessing.key,
            "shards": " ".join(shard.sha256 for shard in split.index.shards),
        }
        belongs_to = {"split": split.location, **tuned.belongs_to}
        return FeatureStore(self.folder, depends_on, split.index.count, self.options.dtype, belongs_to)

    def check_sums(self, split: Split) -> None:
        """See `Split.check_sums`."""
        split.check_sums(self.folder / "shard_sums")

    def _complete(
        self, store: FeatureStore, split: Split, extractor: FeatureExtractor, trainer: Trainer, stack: ExitStack
    ) -> None:
        """Computes what is missing; rank zero holds the store's lock until ``stack`` is left."""
        missing = on_rank_zero(trainer, partial(self._missing, store, split, stack))
        if missing == []:
            return
        device = trainer.strategy.root_device
        shapes = self._shapes(split, extractor, device) if missing is None else None
        missing = on_rank_zero(trainer, partial(_begin, store, shapes, missing))
        own = missing[trainer.global_rank :: trainer.world_size]
        title = f"Features of {split.folder}" if trainer.is_global_zero else None
        store.fill(own, self.batches(split, store.batches_of(own, self.batch_size)), extractor, device, title)
        trainer.strategy.barrier("features")

    def _missing(self, store: FeatureStore, split: Split, stack: ExitStack) -> list[int] | None:
        """Chunks to be computed, None for all of a new store; where there are any, its lock is held from here on."""
        self.check_sums(split)
        if store.exists and not store.missing_chunks(shown=True):
            return []

        def tell(owner: LockOwner | None) -> None:
            rank_zero_info(f"Waiting for {owner or 'another process'}, which computes the same features.")

        purpose = f"computes features of {split.folder}"
        stack.enter_context(file_lock(store.lock, purpose, wait=True, on_wait=tell))
        remove_leftovers(store.folder)
        return store.missing_chunks(shown=True) if store.exists else None

    def _shapes(self, split: Split, extractor: FeatureExtractor, device: torch.device) -> Shapes:
        """The sizes that the first sample shows."""
        first = next(iter(self.batches(split, [np.arange(1)])))
        with torch.no_grad():
            computed = extractor(first["image"].to(device))
        return computed["features"].shape[1], computed["logits"].shape[1], tuple(first["label"].shape[1:])


def _begin(store: FeatureStore, shapes: Shapes | None, missing: list[int] | None) -> list[int]:
    """Creates a new store, and checks that what is missing fits on the disk; returns the missing chunks."""
    if shapes is not None:
        store.create(*shapes)
    chunks = store.missing_chunks() if missing is None else missing
    store.check_space(chunks)
    return chunks
