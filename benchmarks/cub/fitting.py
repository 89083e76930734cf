"""Approaches that are compared, their settings, and how each is fitted."""

import logging
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch.optim import Adam, Optimizer

import lightning_modules
from benchmarks.common import NamedWeights, quiet_trainer
from benchmarks.cub.measures import Birds
from lightning_modules import ExplainerModule
from vitrine.backbones.networks import BackboneOptions
from vitrine.core.options import grouped
from vitrine.explainers.srae.x_features import XFeatureExplainer


def adam(lr: float) -> Callable[[Iterable[Any]], Optimizer]:
    """Adam with another learning rate than modules have by default."""
    return lambda parameters: Adam(parameters, lr=lr, fused=True)


@dataclass(frozen=True)
class Layers:
    """Where a network is tapped."""

    features: str
    """Z: the last activations before the classifier."""
    logits: str
    """The layer that gives the logits."""


LAYERS = {
    "mobilenet_v2": Layers("features", "classifier.1"),
    "squeezenet1_0": Layers("features.12", "classifier.3"),
}


@dataclass(frozen=True)
class Approach:
    """A row of the table.

    Args:
        title: as the table names it.
        module: class of the LightningModule.
        options: of the module, beside backbone and layer.
        tuned: options by network, where they differ: `benchmarks.cub.tuning` chose them on training images alone.
        on_logits: whether Z is the layer that gives the logits.
        seeded: whether it depends on a seed.
        masked: whether images are masked by its heatmaps.
        epochs: of its fit, in place of the common ones.
        fit_of: the approach whose fit is drawn with other options, in place of a fit of its own.
    """

    title: str
    module: str
    options: Mapping[str, Any] = field(default_factory=dict)
    tuned: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    on_logits: bool = False
    seeded: bool = True
    masked: bool = False
    epochs: int | None = None
    fit_of: str | None = None


APPROACHES: dict[str, Approach] = {
    "srae": Approach("SRAE", "SRAEModule", {"objective": "srae"}, {"squeezenet1_0": {"beta": 20.0}}, masked=True),
    "nn": Approach("NN", "SRAEModule", {"objective": "nn"}),
    "sae": Approach("SAE", "SRAEModule", {"objective": "sae", "beta": 1.0}, {"squeezenet1_0": {"beta": 0.2}}),
    "lasso": Approach("Lasso", "SelectedFeaturesModule", {"kind": "lasso"}, seeded=False),
    "cae": Approach("CAE", "SRAEModule", {"objective": "cae"}),
    "z": Approach("Z", "SelectedFeaturesModule", {"kind": "random", "num_features": 10}, seeded=False),
    "ebp": Approach("EBP", "SelectedFeaturesModule", {"kind": "logit"}, on_logits=True, seeded=False, masked=True),
    "firing": Approach("SRAE, firing alone", "SRAEModule", {"draw_inactive": False}, masked=True, fit_of="srae"),
    "firing_nn": Approach("NN, firing alone", "SRAEModule", {"objective": "nn", "draw_inactive": False}, fit_of="nn"),
    "positions": Approach(
        "SRAE, positions",
        "SRAEModule",
        {"objective": "srae", "pooling": "positions", "hidden": (50,), "eta": 2.0, "optimizer": adam(3e-3)},
        masked=True,
        epochs=40,
    ),
}
"""The paper's rows, and three of ours. The paper does not say what an x-feature shows that is 0 on an image; its rows draw
what would excite it."""

LASSO_ALPHAS = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02)


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
    trainer = quiet_trainer(epochs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the few workers and the missing validation
        trainer.fit(module, train.loader(explainer.features, seed))
    return explainer.eval()
