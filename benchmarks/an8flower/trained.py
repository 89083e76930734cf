"""The three explainers of the package on a fold: SRAE, μ-Lasso selector and inversion mask, and what is chosen of each."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Adam

from benchmarks.an8flower.data import Flowers
from benchmarks.an8flower.methods import Choice, Draw
from benchmarks.an8flower.network import Architecture
from benchmarks.common import FeatureLoader, quiet_trainer
from lightning_modules import SRAEModule
from vitrine.attribution.excitation.linear_rules import NegativeActivations
from vitrine.attribution.inversion.settings import Variant
from vitrine.attribution.lrp.composites import Composite, composite_named
from vitrine.attribution.lrp.lrp import relevance_maps
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.guard import eval_guard
from vitrine.backbones.networks import BackboneOptions
from vitrine.backbones.pooling import Pooling
from vitrine.core.explanation import Aggregation, Explanation
from vitrine.explainers import InversionExplainer, MuLassoExplainer, MuLassoFit, SRAEExplainer
from vitrine.explainers.inversion.explainer import InversionOptions
from vitrine.explainers.mu_lasso.explainer import MuLassoOptions
from vitrine.explainers.mu_lasso.thresholds import learn_activation_thresholds
from vitrine.explainers.srae.explainer import SRAEOptions
from vitrine.explainers.srae.objectives import SRAETraining
from vitrine.filters.layers import Layers, response_layers
from vitrine.filters.scaling import Scaling

AGGREGATIONS: tuple[Aggregation, ...] = ("maximum", "sum")
SCALINGS: tuple[tuple[Scaling, float], ...] = (("width", 1.0), ("standardized", 0.5))
"""And μ, which bounds the weights of scaled responses, so that each scaling has values of its own."""
NEGATIVES: tuple[NegativeActivations, ...] = ("clamp", "zplus")
JOINS: tuple[tuple[int, Aggregation], ...] = ((1, "maximum"), (4, "sum"))
"""Of x-features: how many, and their aggregate."""
FittedSRAEs = list[tuple[str, SRAEExplainer]]
"""By layer and pooling, in words."""
COUNTS = (1, 2, 4)
COMPOSITES = {
    "epsilon_gamma_box": composite_named("epsilon_gamma_box"),
    "attn": composite_named("attn"),
    "attn, γ = 0.25": composite_named("attn", gamma=0.25),
}
THRESHOLDS = (0.0, 1.0)
"""Of activations, in units of a filter's median maximum."""
INVERSIONS: tuple[tuple[Variant, int], ...] = (("fine", 0), ("fine", 10), ("smooth", 0), ("smooth", 10))
"""Variants, and steps for the class."""


def srae_choices(fitted: FittedSRAEs) -> Iterator[Choice]:
    """SRAE of the last vectors, and of the places of each layer; contrastive or not, as excitation backprop has it."""
    for layer, explainer in fitted:
        for contrastive, negative in product((True, False), NEGATIVES):
            options = replace(explainer.options, contrastive=contrastive, negative_activations=negative)
            drawn = _Drawn(explainer, options)
            for count, aggregation in JOINS:
                told = f"{layer}, {'c-MWP' if contrastive else 'MWP'}, {negative}, K = {count}"
                yield Choice(told, drawn.joined(count, aggregation))


def fitted_sraes(how: Architecture, weights: Path, train: Flowers, layers: Sequence[str], seed: int) -> FittedSRAEs:
    """An SRAE of the last vectors and one of the places of each layer, and what they are of."""
    size = train.images.shape[-1]
    backbone = BackboneOptions(how.name, str(weights), arguments=how.arguments(len(torch.unique(train.labels)), size))
    places: list[tuple[str, Pooling]] = [(layer, "tokens") for layer in layers]
    fitted = []
    for layer, pooling in [(how.srae_layer, how.srae_pooling), *places]:
        options = SRAEOptions(layer, pooling, num_features=4, image_size=size, hidden=(64, 16))
        fitted.append((f"{layer}, {pooling}", fit_srae(backbone, options, train, seed=seed)))
    return fitted


def srae_relevance_choices(fitted: FittedSRAEs) -> Iterator[Choice]:
    """SRAE of the same places, whose x-features' contributions to the logit are drawn by LRP and not by EBP."""
    for told, explainer in fitted:
        for name, composite in COMPOSITES.items():
            for count in (1, 4):
                yield Choice(f"{told}, {name}, K = {count}", _contributions_drawn(explainer, composite, count))


def _contributions_drawn(explainer: SRAEExplainer, composite: Composite, count: int) -> Draw:
    """The positive relevance of the ``count`` largest contributions together."""

    def contributions(images: Tensor) -> Tensor:
        output = explainer.features(images)
        rows = output["logits"].argmax(dim=1)  # every class has a head
        return explainer.heads.contributions(explainer.heads.embed(output["features"], rows), rows)

    def draw(images: Tensor) -> Tensor:
        maps = []
        for part in torch.split(images, 16):
            every = torch.arange(explainer.num_features).expand(len(part), -1)
            with eval_guard(explainer.backbone.model), torch.inference_mode(mode=False):
                found, scores = relevance_maps(contributions, part, every, composite=composite)
            largest = torch.zeros_like(scores).scatter(1, scores.topk(count, dim=1).indices, 1.0)
            maps.append((found.sum(dim=2) * largest[..., None, None]).sum(dim=1).clamp(min=0))
        return torch.cat(maps).cpu()

    return draw


def mu_lasso_choices(network: nn.Module, train: Flowers) -> Iterator[Choice]:
    """The selector over the later half of the layers and over the later activations; scalings, K, aggregates, thresholds."""
    backbone, size = FrozenBackbone(network), train.images.shape[-1]
    for layers in _layer_sets(network, size):
        for scaling, mu in SCALINGS:
            options = MuLassoOptions(layers=layers, scaling=scaling, mu=mu, num_heatmaps=max(COUNTS), image_size=size)
            explainer = _fit_mu_lasso(MuLassoExplainer(backbone, options), train)
            for threshold in THRESHOLDS:
                drawn = _Drawn(explainer, replace(explainer.options, activation_threshold=threshold))
                for count, aggregation in product(COUNTS, AGGREGATIONS):
                    told = f"{len(explainer.responses.layers)} layers from {explainer.responses.layers[0].name}"
                    yield Choice(
                        f"{told}, {scaling}, μ = {mu:g}, threshold {threshold:g}, K = {count}, {aggregation}",
                        drawn.joined(count, aggregation),
                    )


def inversion_choices(network: nn.Module, size: int) -> Iterator[Choice]:
    """The variants of this package, as they begin and after ten steps for the class."""
    for variant, steps in INVERSIONS:
        options = InversionOptions(variant, {"class_steps": steps}, image_size=size)
        drawn = _Drawn(explainer := InversionExplainer(FrozenBackbone(network), options), explainer.options)
        yield Choice(f"{variant}, {steps} steps", drawn.joined(1, "maximum"))


class _Drawn:
    """What an explainer says of images under some options, computed once for all ways of joining the K heatmaps."""

    def __init__(self, explainer: Any, options: Any) -> None:
        self.explainer, self.options = explainer, options
        self.known: dict[int, Explanation] = {}

    def joined(self, count: int, aggregation: Aggregation) -> Draw:
        def draw(images: Tensor) -> Tensor:
            whole = self.of(images)
            order = whole.scores.argsort(dim=1, descending=True)[:, :count]
            first = replace(
                whole,
                heatmaps=whole.heatmaps.gather(1, order[..., None, None].expand(-1, -1, *whole.heatmaps.shape[2:])),
                scores=whole.scores.gather(1, order),
                labels=[[""] * order.shape[1]] * len(order),
                valid=torch.ones_like(order, dtype=torch.bool),
                kinds=None,
                aggregation=aggregation,
            )
            return first.aggregate()[:, 0].cpu()

        return draw

    def of(self, images: Tensor) -> Explanation:
        if id(images) not in self.known:
            self.explainer.options = self.options
            self.known[id(images)] = Explanation.cat([self.explainer.explain(part) for part in torch.split(images, 16)])
        return self.known[id(images)]


def _layer_sets(network: nn.Module, size: int) -> list[Layers]:
    names = [layer.name for layer in response_layers(network, size)]
    rectified = [name for name, module in network.named_modules() if isinstance(module, nn.ReLU | nn.GELU)]
    return [names[len(names) // 2 :], rectified[len(rectified) // 3 :]]


def _fit_mu_lasso(explainer: MuLassoExplainer, train: Flowers) -> MuLassoExplainer:
    fit = MuLassoFit(explainer, len(train.labels))
    with torch.no_grad():
        for images, labels in zip(torch.split(train.images, 256), torch.split(train.labels, 256), strict=True):
            fit.update(explainer.responses(images.float())["features"], labels)
    fit.use(fit.finish())
    learn_activation_thresholds(explainer, (part.float() for part in torch.split(train.images, 256)), 200)
    return explainer


def fit_srae(
    backbone: BackboneOptions, options: SRAEOptions, train: Flowers, *, seed: int, epochs: int = 30
) -> SRAEExplainer:
    """One head a class, fitted on the layer's activations of the training images.

    Args:
        backbone: the fold's network.
        options: the layer, and the heads' sizes.
        train: training images.
        seed: of the heads and of the order.
        epochs: passes over the activations.
    """
    pl.seed_everything(seed, verbose=False)
    module = SRAEModule(
        backbone,
        options,
        SRAETraining(positive_weight=float(len(torch.unique(train.labels)) - 1)),
        optimizer=lambda parameters: Adam(parameters, lr=3e-3, fused=True),
    )
    trainer = quiet_trainer(epochs, log_every_n_steps=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the few workers and the missing validation
        trainer.fit(module, FeatureLoader(*_activations(module.explainer, train), train.labels, seed))
    return module.explainer


def _activations(explainer: SRAEExplainer, train: Flowers) -> tuple[Tensor, Tensor]:
    """Z and logits of the training images."""
    with torch.no_grad():
        parts = [explainer.features(images.float()) for images in torch.split(train.images, 256)]
    return torch.cat([part["features"] for part in parts]), torch.cat([part["logits"] for part in parts])
