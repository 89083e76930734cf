"""The figures of one fitted approach."""

from collections import defaultdict
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from benchmarks.cub.images import Birds
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.data.preprocessing import Preprocessing
from vitrine.explainers.srae.x_features import XFeatureExplainer
from vitrine.metrics import (
    ClassificationFaithfulness,
    Locality,
    MaskedAccuracy,
    Orthogonality,
    RegressionFaithfulness,
)

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
