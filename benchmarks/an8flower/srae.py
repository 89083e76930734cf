"""SRAE heads on the fully-connected layer of a fold's network (Qi, Khorram and Li 2018)."""

import warnings
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import Adam

from benchmarks.an8flower.data import Flowers
from benchmarks.common import FeatureLoader
from lightning_modules import SRAEModule
from vitrine.backbones.networks import BackboneOptions
from vitrine.explainers import SRAEExplainer
from vitrine.explainers.srae.explainer import SRAEOptions
from vitrine.explainers.srae.objectives import SRAETraining

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
        SRAEOptions(LAYER, "none", num_features=4, hidden=(64, 16), image_size=size),
        SRAETraining(positive_weight=float(classes - 1)),
        optimizer=lambda parameters: Adam(parameters, lr=3e-3, fused=True),
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
        trainer.fit(module, FeatureLoader(*_activations(module.explainer, train), train.labels, seed))
    return module.explainer


def _activations(explainer: SRAEExplainer, train: Flowers) -> tuple[Tensor, Tensor]:
    """Z and logits of the training images."""
    with torch.no_grad():
        parts = [explainer.features(images.float()) for images in torch.split(train.images, 256)]
    return torch.cat([part["features"] for part in parts]), torch.cat([part["logits"] for part in parts])
