"""Fits one approach, through the module that people train."""

import logging
import warnings
from typing import Any

import pytorch_lightning as pl

import lightning_modules
from benchmarks.common import NamedWeights
from benchmarks.cub.images import Birds
from benchmarks.cub.settings import LAYERS, Approach
from lightning_modules import ExplainerModule
from vitrine.backbones.networks import BackboneOptions
from vitrine.core.options import grouped
from vitrine.explainers.srae.x_features import XFeatureExplainer


def quiet() -> None:
    """Lets the trainer tell of nothing but warnings."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)


def build(network: NamedWeights, approach: Approach, train: Birds, size: int, **options: Any) -> ExplainerModule:
    """The approach's module, with a class's own images weighing as much as all others together."""
    layers = LAYERS[network.name]
    layer = layers.logits if approach.on_logits else layers.features
    options = {
        "explained_classes": list(range(len(train.classes))),
        "positive_weight": float(len(train.classes) - 1),  # classes have nearly the same number of images
        "image_size": size,
        "draw_inactive": True,
        **approach.options,
        **approach.tuned.get(network.name, {}),
        **options,
    }
    make = getattr(lightning_modules, approach.module)
    arguments = grouped(make, {"layer": layer, **options})
    module: ExplainerModule = make(BackboneOptions(network.name, network.weights), **arguments)
    module.explainer.classes = list(train.classes)
    return module


def explainer_of(module: ExplainerModule) -> XFeatureExplainer:
    """A module's explainer by x-features."""
    if not isinstance(module.explainer, XFeatureExplainer):
        raise TypeError(f"{type(module.explainer).__name__} has no x-features.")
    return module.explainer


def fit(module: ExplainerModule, train: Birds, epochs: int, seed: int) -> XFeatureExplainer:
    """The explainer of a module, fitted on the features of the training images; heads are drawn by torch's own generator."""
    explainer = explainer_of(module)
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
        trainer.fit(module, train.loader(explainer.features, seed))
    return explainer.eval()
