"""Which filters the μ-Lasso selects, from which layers, for every scaling of the responses."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.mnist.data import CLASSES, PREPROCESSING, Digits
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.explainers.mu_lasso.explainer import MuLassoExplainer, MuLassoOptions
from vitrine.explainers.mu_lasso.fit import MuLassoFit
from vitrine.filters.heatmaps import Filter
from vitrine.filters.layer_selection import selection_by_layer
from vitrine.filters.scaling import SCALINGS, ResponseScaling, Scaling
from vitrine.solvers import MuLassoSolution

LAYER_SETS: Mapping[str, Sequence[str]] = {
    "All": ("conv1", "pool1", "conv2", "pool2", "conv3", "relu3"),
    "OnlyConv": ("conv1", "pool1", "conv2", "pool2", "conv3"),
    "OnlyMaps": ("conv1", "pool1", "conv2", "pool2"),
}
"""All and OnlyConv are the paper's, which counts activations: all layers but the last, and the five called convolutional.

The library's own ``all`` and ``conv`` leave activations out, and both are the five layers of OnlyConv here. conv3 gives one
place a filter, so that it may as well be called fully connected; to those who do, OnlyConv is All and OnlyMaps is OnlyConv.
Each set is the beginning of the one before, and so are its responses.
"""
CHUNK = 5000
"""Rows of responses at a time."""
BATCH = 500
"""Images of a forward pass."""


@dataclass
class Selection:
    """The filters of one layer set and one scaling, from a kept path that gives those of any μ.

    μ is in the paper's units here: divided by the median of the scaling's factors, it bounds what the explainer is given. So
    a weight of μ on the response of a middling filter means the same whatever the scaling is. With the number itself, the
    scalings that multiply responses by hundreds would select nearly all filters.
    """

    layers: str
    scaling: str
    explainer: MuLassoExplainer
    fit: MuLassoFit
    unit: float
    """By which μ is multiplied for the explainer."""
    solution: MuLassoSolution
    seconds: float
    """To solve all classes for the first μ, from the sums on."""

    def use(self, mu: float) -> MuLassoSolution:
        """Gives the explainer the weights for another μ."""
        solution = self.solution.at(mu * self.unit)
        self.fit.use(solution)
        self.explainer.options = replace(self.explainer.options, mu=mu * self.unit)
        return solution

    def ranked(self, mu: float) -> list[Filter]:
        """The filters selected with one μ, by their largest |w|."""
        self.use(mu)
        return self.explainer.relevant_filters()

    def scores(self, responses: Tensor) -> Tensor:
        """(N, C) reconstruction of the labels from all responses, of which this layer set's are the first."""
        own = responses[:, : self.explainer.responses.num_filters]
        with torch.no_grad():
            device = self.explainer.weights.device
            parts = [self.explainer.class_scores(part.to(device)).cpu() for part in torch.split(own, CHUNK)]
        return torch.cat(parts)

    def figures(self, mu: float) -> dict[str, Any]:
        """What is selected with one μ."""
        solution = self.use(mu)
        picks = selection_by_layer(solution.weights, self.explainer.responses.layers)
        return {
            "mu": mu,
            "mu_of_scaled": mu * self.unit,
            "filters": filters_of(solution),
            "picks": sum(layer.picks for layer in picks),
            "relative_gap": float(solution.relative_gap.max()),
            "layers": [asdict(layer) for layer in picks],
        }


def filters_of(solution: MuLassoSolution) -> int:
    """How many filters have a weight for any class."""
    return int((solution.weights != 0).any(dim=1).sum())


def explainer_of(backbone: FrozenBackbone, layers: str, scaling: Scaling, heatmaps: int = 3) -> MuLassoExplainer:
    """An explainer of digits that has not been fitted."""
    return MuLassoExplainer(
        backbone,
        MuLassoOptions(LAYER_SETS[layers], scaling=scaling, num_heatmaps=heatmaps, image_size=28),
        CLASSES,
        PREPROCESSING,
    )


def responses_of(explainer: MuLassoExplainer, digits: Digits, device: str, title: str) -> Tensor:
    """(N, m) responses of all digits, in main memory."""
    with torch.no_grad():
        parts = [
            explainer.responses(batch["image"])["features"].cpu() for batch in digits.batches(BATCH, device, title)
        ]
    return torch.cat(parts)


def selections_of(
    backbone: FrozenBackbone, layers: str, responses: Tensor, labels: Tensor, mu: float
) -> Iterator[Selection]:
    """The selection for each scaling in turn; the sums over the data are taken once.

    Args:
        backbone: the network.
        layers: a name in `LAYER_SETS`.
        responses: (N, m) of All.
        labels: (N,).
        mu: of the first solution.
    """
    sums: MuLassoFit | None = None
    for scaling in SCALINGS:
        explainer = explainer_of(backbone, layers, scaling)
        own = responses[:, : explainer.responses.num_filters]
        fit = MuLassoFit(explainer, len(labels))
        sums = sums or taken_in(fit, own, labels)
        fit.sums, fit.rows = sums.sums, sums.rows
        unit = paper_unit(explainer, own)
        started = time.perf_counter()
        solution = fit.finish(mu * unit)
        yield Selection(layers, scaling, explainer, fit, unit, solution, time.perf_counter() - started)


def taken_in(fit: MuLassoFit, responses: Tensor, labels: Tensor) -> MuLassoFit:
    """The fit, with all samples taken in."""
    for part, classes in zip(torch.split(responses, CHUNK), torch.split(labels, CHUNK), strict=True):
        fit.update(part, classes)
    return fit


def paper_unit(explainer: MuLassoExplainer, responses: Tensor) -> float:
    """One over the median factor of the explainer's scaling, filters without any response left out."""
    scaling = ResponseScaling(responses.shape[1], explainer.scaling.scaling)
    squares = torch.linalg.vector_norm(responses, dim=0, dtype=torch.float64) ** 2
    total = responses.sum(dim=0, dtype=torch.float64)
    scaling.fit(len(responses), total, squares, explainer.responses.widths())
    return 1 / float(scaling.factor[scaling.factor > 0].median())
