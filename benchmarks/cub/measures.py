"""Birds in memory, their features, and the measures of a fitted approach."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.common import FeatureLoader
from datamodules.samples import collate
from datamodules.shard_images import ShardImages
from datamodules.split import Split
from vitrine.backbones.features import TappedFeatures
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.data.preprocessing import Preprocessing
from vitrine.data.shards.converter import write_set
from vitrine.data.shards.converters.cub import list_cub
from vitrine.data.shards.schema import INDEX_FILE
from vitrine.explainers.srae.x_features import XFeatureExplainer
from vitrine.metrics import (
    ClassificationFaithfulness,
    Locality,
    MaskedAccuracy,
    Orthogonality,
    RegressionFaithfulness,
)

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
        images = ShardImages(opened, preprocessing)
        loader = DataLoader(images, BATCH, collate_fn=collate)
        return cls(list(loader), list(opened.index.classes))

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


IDLE = 0.01
"""Share of a class's absolute contributions below which an x-feature is idle."""


def faithfulness_of(explainer: XFeatureExplainer, birds: Birds) -> dict[str, float]:
    """F_reg and F_cls over all images and classes; empty for heads that estimate nothing."""
    features, logits = birds.features(explainer.features)
    with torch.no_grad():
        estimates = explainer.reconstruct_logits(features)
    if estimates is None:
        return {}
    explained = torch.tensor(explainer.explained_classes)
    figures = {}
    for name, metric in (("f_reg", RegressionFaithfulness()), ("f_cls", ClassificationFaithfulness())):
        metric.update(estimates, logits, explained)
        figures[name] = float(metric.compute())
    return figures


class HeatmapFigures:
    """Orthogonality, locality and accuracy on masked images of heatmaps of the images' own classes.

    Args:
        explainer: what draws them.
        preprocessing: of the images.
        masked: whether images are masked and classified again.
    """

    def __init__(self, explainer: XFeatureExplainer, preprocessing: Preprocessing, *, masked: bool) -> None:
        self.explainer = explainer
        self.orthogonality, self.locality = Orthogonality(), Locality("parts")
        model = explainer.backbone.model
        self.masked = MaskedAccuracy(model, preprocessing) if masked else None
        self.contributions: dict[int, list[Tensor]] = defaultdict(list)

    def update(self, batch: Batch) -> None:
        """Explains and measures one batch."""
        explanation = self.explainer.explain(batch["image"], target=batch["label"])
        self.orthogonality.update(explanation, batch)
        self.locality.update(explanation, batch)
        if self.masked is not None:
            self.masked.update(explanation, batch)
        for label, scores in zip(explanation.target.tolist(), explanation.scores, strict=True):
            self.contributions[label].append(scores)

    def compute(self) -> dict[str, float]:
        """All figures by name."""
        figures: dict[str, Any] = {**self.orthogonality.compute(), **self.locality.compute()}
        if self.masked is not None:
            figures |= self.masked.compute()
        return {name: float(value) for name, value in figures.items()} | self._of_contributing()

    def _of_contributing(self) -> dict[str, float]:
        """Locality of the x-features that contribute, and how many of them a class has."""
        entropies, counts = [], []
        for label, found in self.locality.by_class().items():
            means = torch.stack(self.contributions[label]).mean(dim=0)[: len(found)]
            contributes = means > IDLE * means.abs().sum()
            counts.append(float(contributes.sum()))
            if bool(contributes.any()):
                entropies.append(float(found[contributes].nanmean()))
        return {
            "locality_contributing": sum(entropies) / max(len(entropies), 1),
            "contributing": sum(counts) / max(len(counts), 1),
        }


def measure(
    explainer: XFeatureExplainer, train: Birds, test: Birds, preprocessing: Preprocessing, *, masked: bool, every: int
) -> dict[str, float]:
    """All figures: faithfulness on both splits, the rest on the test images, of which every so many batches are drawn."""
    figures = {
        f"{name}_{part}": value
        for part, birds in (("train", train), ("test", test))
        for name, value in faithfulness_of(explainer, birds).items()
    }
    drawn = HeatmapFigures(explainer, preprocessing, masked=masked)
    for batch in track(test.batches[::every], description="heatmaps", console=Console(stderr=True)):
        drawn.update(batch)
    return figures | drawn.compute()


def explain_some(explainer: XFeatureExplainer, batch: Batch, count: int) -> Explanation:
    """Heatmaps of the first images of a batch for their own classes."""
    return explainer.explain(batch["image"][:count], target=batch["label"][:count])
