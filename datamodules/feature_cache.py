"""Feature cache: the features of whole splits, computed once by all ranks together and read back from disk."""

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from pytorch_lightning import Trainer

from datamodules.options import FeatureCacheOptions
from datamodules.ranks import RankShare
from datamodules.shard_images import ShardImages
from datamodules.split import SampleMask, Split
from vitrine.core.batch import Batch
from vitrine.data.feature_store import FeatureExtractor, FeatureStore, FeatureTable
from vitrine.data.preprocessing import Preprocessing


class FeatureCache:
    """What is cached of a data set's splits.

    Args:
        options: where the cache is.
        preprocessing: of the images that features are computed from.
        stream: gives this rank's share of the selected samples of a split, as images.
    """

    def __init__(
        self,
        options: FeatureCacheOptions,
        preprocessing: Preprocessing,
        stream: Callable[[Split, SampleMask], Iterable[Batch]],
    ) -> None:
        self.folder = Path(options.folder)
        self.preprocessing = preprocessing
        self.stream = stream

    def table(self, split: Split, extractor: FeatureExtractor, trainer: Trainer | None) -> FeatureTable:
        """The features of a split, computed first where they are not cached; all ranks take part.

        Args:
            split: whose features.
            extractor: computes them.
            trainer: whose ranks compute them; without it they have to be there.
        """
        metadata = {
            "features": extractor.key,
            "preprocessing": self.preprocessing.key,
            "shards": " ".join(shard.sha256 for shard in split.index.shards),
        }
        store = FeatureStore(self.folder, metadata, split.index.count)
        if trainer is not None and not trainer.strategy.broadcast(store.is_complete):
            self._compute(store, split, extractor, trainer)
        return store.read()

    def _compute(self, store: FeatureStore, split: Split, extractor: FeatureExtractor, trainer: Trainer) -> None:
        """Computes what is missing."""
        device, barrier = trainer.strategy.root_device, trainer.strategy.barrier
        if trainer.is_global_zero:
            self._allocate(store, split, extractor, device)
        barrier("allocated")
        missing = store.missing_samples()
        barrier("counted")  # the ranks share out the same samples only if none of them has begun to fill them in
        title = f"Features of {split.folder}" if trainer.is_global_zero else None
        most = RankShare(world_size=trainer.world_size).most_samples(int(missing.sum()))
        store.fill(self.stream(split, missing), extractor, device, title, most)
        barrier("filled")
        if trainer.is_global_zero:
            store.finish(samples=str(split.folder))
        barrier("finished")

    def _allocate(self, store: FeatureStore, split: Split, extractor: FeatureExtractor, device: torch.device) -> None:
        """Makes the store's files in the sizes that one sample shows."""
        first = ShardImages(split, self.preprocessing).batch([0])
        with torch.no_grad():
            computed = extractor(first["image"].to(device))
        label_shape = tuple(first["label"].shape[1:])
        store.allocate(computed["features"].shape[1], computed["logits"].shape[1], label_shape)
