"""Methods other than the μ-Lasso, their SRAE heads, and how a map is read before its overlap is measured."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Adam

from benchmarks.an8flower.data import Flowers
from benchmarks.common import FeatureLoader
from benchmarks.method_table import METHODS, strongest, summed
from lightning_modules import SRAEModule
from vitrine.backbones.networks import BackboneOptions
from vitrine.core.image_ops import constant, gaussian_blur
from vitrine.explainers import SRAEExplainer
from vitrine.explainers.srae.explainer import SRAEOptions
from vitrine.explainers.srae.objectives import SRAETraining
from vitrine.metrics.functional import iou_curve_area

SIGMAS = (0.0, 2.0, 4.0)
POWERS = (1.0, 0.5)


class Reading(NamedTuple):
    """What is done with (M, H, W) maps."""

    sigma: float = 2.0
    """Of a Gaussian blur, in pixels of the network's input; 0 for none."""
    power: float = 1.0
    """To which the map, scaled to 0 … 1, is raised."""

    def __call__(self, maps: Tensor) -> Tensor:
        """(M, H, W)."""
        blurred = gaussian_blur(maps.float(), self.sigma) if self.sigma else maps.float()
        low, high = blurred.flatten(1).amin(dim=1), blurred.flatten(1).amax(dim=1)
        scaled = (blurred - low[:, None, None]) / (high - low).clamp(min=1e-30)[:, None, None]
        return scaled.masked_fill(constant(maps)[:, None, None], 0) ** self.power


def readings() -> Iterator[Reading]:
    """All choices."""
    return (Reading(sigma, power) for sigma, power in product(SIGMAS, POWERS))


def area(maps: Tensor, masks: Tensor, reading: Reading) -> float:
    """Area under the IoU curve in percent."""
    return float(iou_curve_area(reading(maps), masks))


def best_reading(maps: Tensor, masks: Tensor) -> tuple[float, Reading]:
    """The highest area that any reading gives, the first on ties, and that reading."""
    return max(((area(maps, masks, reading), reading) for reading in readings()), key=lambda found: found[0])


MAP_LAYERS = ("features.1", "features.3", "features.6", "features.8", "features.11", "features.12")
"""Of `FlowerCNN`: the five rectified convolutions, and the last pooling."""

NAMES = {
    "Grad-CAM": "GradCAM",
    "Guided Grad-CAM": "GuidedGradCAM",
    "Grad-CAM++": "GradCAMPlusPlus",
    "Guided Grad-CAM++": "GuidedGradCAMPlusPlus",
    "LayerCAM": "LayerCAM",
    "Saliency": "Saliency",
    "Guided backprop": "GuidedBackprop",
    "Deconvnet": "Deconvnet",
    "EBP": "ExcitationBackprop",
    "c-MWP": "ExcitationBackprop+c-MWP",
    "LRP": "LRP",
    "Integrated gradients": "IntegratedGradients",
    "SmoothGrad": "SmoothGrad",
    "RISE": "RISE",
    "Meaningful perturbation": "MeaningfulPerturbation",
}
"""Those of table 1 first; by their names in the table of methods."""


@dataclass(frozen=True)
class Choice:
    """One way of running a method, before its maps are read."""

    what: str
    """In words."""
    draw: Callable[[nn.Module, Tensor], Tensor]
    """(M, H, W) maps of the predicted class from a network and (M, 3, H, W) images."""


def is_slow(name: str) -> bool:
    """Whether a method is run on few images."""
    return name in {"RISE", "Meaningful perturbation"}


def choices(name: str, seed: int) -> Iterator[Choice]:
    """A choice for each layer, of methods that draw one, and for each way of taking colours together."""
    entry = METHODS[NAMES[name]]
    reads: dict[str, Callable[[Tensor], Tensor]] = {"as it is": summed}
    if entry.blurred and "Excitation" not in NAMES[name]:
        reads = {"largest absolute value": strongest, "positive sum": lambda maps: summed(maps).clamp(min=0)}
    for layer in MAP_LAYERS if entry.layered else (None,):
        for word, read in reads.items():
            yield Choice(f"{layer or 'logit'}, {word}", _draw(entry, layer, read, seed))


def _draw(entry: Any, layer: str | None, read: Callable[[Tensor], Tensor], seed: int) -> Any:
    def draw(network: nn.Module, images: Tensor) -> Tensor:
        method = entry.build(network, layer, seed)
        method.internal_batch_size = 16
        return read(method.attribute(images)).cpu()

    return draw


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
