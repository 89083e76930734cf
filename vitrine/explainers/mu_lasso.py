"""The few filters that each class rests on, selected by the μ-Lasso (Oramas, Wang and Tuytelaars, ICLR 2019)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vitrine.attribution.filter_heatmaps import Filter, filter_heatmaps
from vitrine.attribution.guided_backprop import GuidedBackprop
from vitrine.attribution.perturbations import gaussian_blur
from vitrine.backbones import FrozenBackbone
from vitrine.explainers.base import Explainer, Target, target_classes
from vitrine.explanation import AGGREGATIONS, Explanation
from vitrine.features import Features
from vitrine.preprocessing import Preprocessing
from vitrine.responses import FilterResponses, ResponseScaling
from vitrine.responses.filter_responses import Norm, Normalization
from vitrine.responses.layers import Layers
from vitrine.solvers import project_l1_ball


class MuLassoExplainer(Explainer):
    """A sparse linear model of each class on the responses x of all filters, and heatmaps of the filters that speak for it.

    W = argmin ‖XᵀW − Lᵀ‖² with ‖w_j‖₁ ≤ μ (equation 1). An image is explained by the K filters of highest r = w_ĵ ∘ x, each
    drawn by guided backprop with stride one (sections 3.2 and 3.3).

    Args:
        backbone: the classifier behind glass.
        classes: names of the backbone's logits.
        preprocessing: how images are made ready for the backbone.
        layers: whose filters are features: ``all``, ``conv`` or names, see `vitrine.responses.response_layers`.
        norm: of a filter's output over its places, see `FilterResponses`.
        normalization: of the responses, see `FilterResponses`.
        scaling: of the responses before the linear model, see `ResponseScaling`. With the paper's own, entries go as one
            over their layer's width, so that nearly all that is selected lies in narrow layers.
        mu: μ; it bounds the weights of the *scaled* responses.
        heatmaps: K, filters drawn an image.
        aggregation: how the K heatmaps are joined to one, ``maximum`` or ``sum``, see `Explanation.aggregate`.
        stride_one: whether strided operators are taken back with stride 1 (section 3.3).
        pooling: of ``stride_one``, see `vitrine.attribution.Deconvnet`.
        sigma: of the Gaussian, in pixels, that heatmaps are blurred by; 0 for none.
        image_size: side of the backbone's input, used once to find its layers.

    Raises:
        ValueError: for a number out of range, or an unknown word or layer.
    """

    def __init__(
        self,
        backbone: FrozenBackbone,
        classes: Sequence[str] | None = None,
        preprocessing: Preprocessing | None = None,
        layers: Layers = "all",
        norm: Norm = "l2",
        normalization: Normalization = "layer",
        scaling: str = "paper",
        mu: float = 10.0,
        heatmaps: int = 5,
        aggregation: str = "maximum",
        stride_one: bool = True,
        pooling: str = "switches",
        sigma: float = 0.0,
        image_size: int = 224,
    ) -> None:
        super().__init__(backbone, classes, preprocessing)
        self.responses = FilterResponses(backbone, layers, norm, normalization, image_size)
        self.scaling = ResponseScaling(self.responses.num_filters, scaling)
        _check(mu=mu, heatmaps=heatmaps, filters=self.responses.num_filters, aggregation=aggregation, sigma=sigma)
        self.mu = mu
        self.heatmaps = heatmaps
        self.aggregation = aggregation
        self.stride_one = stride_one
        self.pooling = pooling
        self.sigma = sigma
        self.image_size = image_size
        self.method = GuidedBackprop(backbone.model, stride_one=stride_one, pooling=pooling)
        self.weights = nn.Parameter(torch.zeros(self.responses.num_filters, self.responses.num_classes))
        self.register_buffer("intercept", torch.zeros(self.responses.num_classes))

    intercept: Tensor
    """(C,); 0 but for ``standardized``."""

    @property
    def num_classes(self) -> int:
        """C, the number of the backbone's logits."""
        return self.responses.num_classes

    def options(self) -> dict[str, Any]:
        """See `Explainer.options`; layers by name, whatever they were chosen by."""
        return {
            "layers": [layer.name for layer in self.responses.layers],
            "norm": self.responses.norm,
            "normalization": self.responses.normalization,
            "scaling": self.scaling.scaling,
            "mu": self.mu,
            "heatmaps": self.heatmaps,
            "aggregation": self.aggregation,
            "stride_one": self.stride_one,
            "pooling": self.pooling,
            "sigma": self.sigma,
            "image_size": self.image_size,
        }

    @property
    def cacheable_features(self) -> FilterResponses:
        """The responses x, which one pass over the data gives once for all."""
        return self.responses

    def class_scores(self, responses: Tensor) -> Tensor:
        """(B, C) reconstruction of the labels from (B, m) responses x: Wᵀx, scaled, and the intercept."""
        scores: Tensor = self.scaling(responses) @ self.weights + self.intercept
        return scores

    @torch.no_grad()
    def project(self) -> None:
        """Brings each class's weights back into the ℓ1 ball of radius μ, to the nearest point in it."""
        self.weights.copy_(project_l1_ball(self.weights, self.mu))

    def relevant(self, class_index: int) -> list[int]:
        """Indices of the filters with a weight for a class, by falling |w|."""
        sizes = self.weights.detach()[:, class_index].abs()
        order = sizes.argsort(descending=True, stable=True)
        return [int(index) for index in order if sizes[index] > 0]

    def relevant_filters(self) -> list[Filter]:
        """The filters with a weight for any class, by their largest |w|; layer and channel."""
        sizes = self.weights.detach().abs().amax(dim=1)
        order = sizes.argsort(descending=True, stable=True)
        return [self.filter(int(index)) for index in order if sizes[index] > 0]

    def filter(self, index: int) -> Filter:
        """Layer and channel of a filter by its place in x."""
        layer, channel = self.responses.filter_of(index)
        return layer.name, channel

    def explain_at_once(self, images: Tensor, target: Target) -> Explanation:
        """K heatmaps an image, with r = w_ĵ ∘ x as scores, in falling order; see `Explainer.explain`.

        Where fewer than K filters speak for the class, what is left has score 0 and a heatmap of zeros.
        """
        with torch.no_grad():
            seen: Features = self.responses(images)
            logits = seen["logits"].float()
            prediction = logits.argmax(dim=1)
            classes = target_classes(target, prediction, self.num_classes)
            strength = self.scaling(seen["features"]) * self.weights.T[classes]
            scores, indices = strength.topk(self.heatmaps, dim=1)
            scores = scores.clamp(min=0)
            return Explanation(
                heatmaps=self._draw(images, indices) * (scores > 0)[..., None, None],
                scores=scores,
                labels=[self._labels(row, values) for row, values in zip(indices, scores, strict=True)],
                prediction=prediction,
                target=classes,
                logits=logits,
                reconstruction=self.class_scores(seen["features"]),
                kinds=[[self.responses.filter_of(index)[0].kind for index in row] for row in indices.tolist()],
                aggregation=self.aggregation,
            )

    def _draw(self, images: Tensor, indices: Tensor) -> Tensor:
        """(B, K, H, W): the largest absolute value over the colours of each filter's heatmap, blurred if asked."""
        chosen = [[self.filter(index) for index in row] for row in indices.tolist()]
        axes = {layer.name: layer.axis for layer in self.responses.layers}
        maps = filter_heatmaps(self.method, images, chosen, axes).abs().amax(dim=2).float()
        return gaussian_blur(maps, self.sigma) if self.sigma > 0 else maps

    def _labels(self, indices: Tensor, scores: Tensor) -> list[str]:
        """Such as ``5 features.4 #17``: the layer's number and name, and the filter."""
        labels = []
        for index, score in zip(indices.tolist(), scores.tolist(), strict=True):
            layer, channel = self.responses.filter_of(index)
            labels.append(f"{layer.number} {layer.name} #{channel}" if score > 0 else "no further filter")
        return labels


def _check(*, mu: float, heatmaps: int, filters: int, aggregation: str, sigma: float) -> None:
    if not mu > 0:
        raise ValueError(f"mu is {mu}: give a number above 0.")
    if not 1 <= heatmaps <= filters:
        raise ValueError(f"heatmaps is {heatmaps}: give 1 to {filters}, the number of filters.")
    if aggregation not in AGGREGATIONS:
        raise ValueError(f"aggregation {aggregation!r} is unknown; choose one of {', '.join(AGGREGATIONS)}.")
    if not sigma >= 0:
        raise ValueError(f"sigma is {sigma}: give pixels, 0 for no blur.")
