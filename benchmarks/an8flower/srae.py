"""SRAE heads on the fully-connected layer of a fold's network (Qi, Khorram and Li 2018)."""

import math
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import Tensor

from benchmarks.an8flower.data import Flowers
from lightning_modules import SRAEModule
from vitrine.backbones import BackboneOptions
from vitrine.batch import Batch
from vitrine.explainers import SRAEExplainer

LAYER = "classifier.2"


def fit_srae(weights: Path, classes: int, train: Flowers, *, size: int, epochs: int, seed: int) -> SRAEExplainer:
    """One head a class, fitted on the layer's activations of the training images.

    Args:
        weights: of the fold's `FlowerCNN`.
        classes: its number of logits.
        train: training images.
        size: side of its input.
        epochs: passes over the activations.
        seed: of the heads and of the order.
    """
    pl.seed_everything(seed, verbose=False)
    module = SRAEModule(
        BackboneOptions(
            "benchmarks.an8flower.network:FlowerCNN", str(weights), arguments={"num_classes": classes, "size": size}
        ),
        LAYER,
        pooling="none",
        x_features=4,
        hidden=(64, 16),
        lr=3e-3,
        positive_weight=float(classes - 1),
        image_size=size,
    )
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the few workers and the missing validation
        trainer.fit(module, _Activations(module.explainer, train, seed))
    return module.explainer


class _Activations:
    """Shuffled batches of 64 of a layer's activations."""

    def __init__(self, explainer: SRAEExplainer, train: Flowers, seed: int) -> None:
        parts = []
        with torch.no_grad():
            for images in torch.split(train.images, 256):
                computed = explainer.features(images.float())
                parts.append((computed["features"], computed["logits"]))
        columns: list[Tensor] = [torch.cat(column) for column in zip(*parts, strict=True)]
        self.features, self.logits = columns
        self.labels = train.labels
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return math.ceil(len(self.labels) / 64)

    def __iter__(self) -> Iterator[Batch]:
        for rows in torch.split(torch.randperm(len(self.labels), generator=self.generator), 64):
            yield Batch(features=self.features[rows], logits=self.logits[rows], label=self.labels[rows])
