"""A variant of an8Flower in memory, and its folds by view."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from rich.progress import track
from torch import Tensor

from datamodules.samples import record_of
from datamodules.shard_images import ShardImages
from datamodules.split import Split
from vitrine.data.an8flower.generate import SPLITS
from vitrine.data.preprocessing import Preprocessing


class Flowers(NamedTuple):
    """N images of a variant."""

    images: Tensor
    """(N, 3, H, W) float, normalised."""
    labels: Tensor
    """(N,) class indices."""
    masks: Tensor
    """(N, H, W) bool: where what tells the class from the others is seen."""
    views: Tensor
    """(N,) index of the view that an image is an augmented copy of."""

    def take(self, rows: Tensor) -> "Flowers":
        """The images of some rows, or of a mask of them."""
        return Flowers(*(values[rows] for values in self))


class Folds(NamedTuple):
    """One fold's test images and what is left to train on."""

    train: Flowers
    test: Flowers


def preprocessing(size: int) -> Preprocessing:
    """The whole crop at ``size`` pixels, each colour from −1 to 1."""
    return Preprocessing(size=size, resize=None, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def read_flowers(folder: Path, size: int) -> tuple[Flowers, list[str]]:
    """All images of both splits of a rendered variant, in the order of their keys, and the class names.

    Raises:
        FileNotFoundError: where ``folder`` holds no rendered variant.
    """
    read = {}
    for name in SPLITS:
        split = Split.read(folder / name)
        shown = ShardImages(split, preprocessing(size))
        raw = (sample for shard in range(len(split.index.shards)) for sample in split.raw_samples(shard))
        for sample in track(raw, f"reading {folder / name}", total=split.index.count, transient=True):
            prepared = shown.prepared(sample)
            entries = (prepared["image"].half(), prepared["label"], prepared["mask"][0] != 0)
            read[prepared["key"]] = (*entries, torch.tensor(record_of(sample)["view"]))
    columns = zip(*(read[key] for key in sorted(read)), strict=True)
    images, labels, masks, views = (torch.stack(column) for column in columns)
    return Flowers(images, labels, masks, views), list(split.index.classes)


def folds(flowers: Flowers, count: int) -> Iterator[Folds]:
    """Views are dealt to the folds in turn, so that no view's copies stand on both sides."""
    for fold in range(count):
        test = flowers.views % count == fold
        yield Folds(flowers.take(~test), flowers.take(test))


def spread(flowers: Flowers, per_class: int, seed: int) -> Flowers:
    """As many random images of each class that show something of what tells it apart."""
    generator = torch.Generator().manual_seed(seed)
    seen = flowers.masks.flatten(1).any(dim=1)
    rows = []
    for label in torch.unique(flowers.labels):
        own = ((flowers.labels == label) & seen).nonzero()[:, 0]
        rows.append(own[torch.randperm(len(own), generator=generator)[:per_class]])
    return flowers.take(torch.cat(rows))
