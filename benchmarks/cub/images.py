"""The birds in memory: images once, and the features of each layer once."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.common import FeatureLoader
from datamodules.split import Split
from datamodules.stream import ShardStream
from vitrine.backbones.features import TappedFeatures
from vitrine.core.batch import Batch
from vitrine.data.preprocessing import Preprocessing
from vitrine.data.shards.converter import write_set
from vitrine.data.shards.converters.cub import list_cub
from vitrine.data.shards.schema import INDEX_FILE

BATCH = 32


class Birds:
    """Images of CUB-200-2011 with their annotation, in batches, and what layers give for them.

    Args:
        batches: the images, in order.
        classes: names of the classes.
    """

    def __init__(self, batches: Sequence[Batch], classes: Sequence[str]) -> None:
        self.batches = batches
        self.classes = classes
        self.labels = torch.cat([batch["label"] for batch in batches])
        self.computed: dict[str, tuple[Tensor, Tensor]] = {}

    @classmethod
    def read(cls, root: Path, shards: Path, split: str, preprocessing: Preprocessing) -> "Birds":
        """Reads a split.

        Args:
            root: folder ``CUB_200_2011`` of the official archive.
            shards: where the shards are, or are to be.
            split: train or test.
            preprocessing: makes images ready for the network.
        """
        folder = shards / split
        if not (folder / INDEX_FILE).is_file():
            write_set(list_cub(root, split), folder, shard_size=1000, workers=None, seed=0)
        opened = Split.read(folder)
        stream = ShardStream(opened, preprocessing, BATCH)
        return cls(list(DataLoader(stream, batch_size=None)), list(opened.index.classes))

    def features(self, extractor: TappedFeatures) -> tuple[Tensor, Tensor]:
        """Z (N, D) and logits (N, C) of all images."""
        if extractor.key not in self.computed:
            with torch.no_grad():
                parts = [extractor(batch["image"]) for batch in self.batches]
            features = torch.cat([part["features"] for part in parts])
            self.computed[extractor.key] = features, torch.cat([part["logits"] for part in parts])
        return self.computed[extractor.key]

    def loader(self, extractor: TappedFeatures, seed: int) -> FeatureLoader:
        """Shuffled batches of features to fit on."""
        return FeatureLoader(*self.features(extractor), self.labels, seed)
