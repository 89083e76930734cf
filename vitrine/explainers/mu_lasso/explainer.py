"""The few filters that each class rests on, selected by the μ-Lasso (Oramas, Wang and Tuytelaars, ICLR 2019)."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vitrine.attribution.gradient.deconvnet import GuidedBackprop
from vitrine.backbones.features import Features
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.core.explanation import AGGREGATIONS, Explanation
from vitrine.core.image_ops import gaussian_blur
from vitrine.core.precision import without_autocast
from vitrine.data.preprocessing import Preprocessing
from vitrine.explainers.base import Explainer, Target, target_classes
from vitrine.filters.heatmaps import Filter, filter_heatmaps
from vitrine.filters.layers import Layers, ResponseLayer
from vitrine.filters.responses import FilterResponses, Norm, Normalization
from vitrine.filters.scaling import ResponseScaling
from vitrine.solvers import project_l1_ball

LayerFilter = tuple[ResponseLayer, int]
"""A layer, and the index of one of its channels."""


class MuLassoExplainer(Explainer):
    """A sparse linear model of each class on the responses x of all filters, and heatmaps of the filters that speak for it.

    W = argmin ‖XᵀW − Lᵀ‖² with ‖w_j‖₁ ≤ μ (equation 1). An image is explained by the K filters of highest r = w_ĵ ∘ x, each
    drawn by guided backprop with stride one (sections 3.2 and 3.3).

    Args:
        backbone: the classifier behind glass.
        classes: names of the backbone's logits.
        preprocessing: how images are made ready for the backbone.
        layers: whose filters are features: ``all``, ``conv`` or names, see `vitrine.filters.layers.response_layers`.
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
        floor: how much of a filter's usual maximum an activation must exceed to be drawn, see
            `learn_activation_thresholds`; 0 draws whole activation maps, as the paper does.
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
        floor: float = 0.0,
        image_size: int = 224,
    ) -> None:
        super().__init__(backbone, classes, preprocessing)
        self.responses = FilterResponses(backbone, layers, norm, normalization, image_size)
        self.scaling = ResponseScaling(self.responses.num_filters, scaling)
        _check(mu=mu, heatmaps=heatmaps, filters=self.responses.num_filters, aggregation=aggregation)
        _check_not_negative(sigma=sigma, floor=floor)
        self.mu = mu
        self.heatmaps = heatmaps
        self.aggregation = aggregation
        self.stride_one = stride_one
        self.pooling = pooling
        self.sigma = sigma
        self.floor = floor
        self.image_size = image_size
        self.method = GuidedBackprop(backbone.model, stride_one=stride_one, pooling=pooling)
        self.weights = nn.Parameter(torch.zeros(self.responses.num_filters, self.responses.num_classes))
        self.register_buffer("intercept", torch.zeros(self.responses.num_classes))
        self.register_buffer("usual", torch.zeros(self.responses.num_filters))

    intercept: Tensor
    """(C,); 0 but for ``standardized``."""
    usual: Tensor
    """(m,) usual maxima of the selected filters, where they were learned; 0 elsewhere."""

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
            "floor": self.floor,
            "image_size": self.image_size,
        }

    @property
    def cacheable_features(self) -> FilterResponses:
        """The responses x, which one pass over the data gives once for all."""
        return self.responses

    def class_scores(self, responses: Tensor) -> Tensor:
        """(B, C) reconstruction of the labels from (B, m) responses x: Wᵀx, scaled, and the intercept."""
        with without_autocast(responses):
            scores: Tensor = self.scaling(responses) @ self.weights + self.intercept
        return scores

    @torch.no_grad()
    def project(self) -> None:
        """Brings each class's weights back into the ℓ1 ball of radius μ, to the nearest point in it."""
        self.weights.copy_(project_l1_ball(self.weights, self.mu))

    def relevant(self, class_index: int) -> list[int]:
        """Indices of the filters with a weight for a class, by falling |w|."""
        sizes = self.weights.detach()[:, class_index].abs()
        return _falling(sizes)

    def relevant_indices(self) -> list[int]:
        """Indices of the filters with a weight for any class, by their largest |w|."""
        sizes = self.weights.detach().abs().amax(dim=1)
        return _falling(sizes)

    def relevant_filters(self) -> list[Filter]:
        """The same by layer and channel."""
        return [self.filter(index) for index in self.relevant_indices()]

    def filter(self, index: int) -> Filter:
        """Layer and channel of a filter by its place in x."""
        layer, channel = self.responses.filter_of(index)
        return layer.name, channel

    def explain_batch(self, images: Tensor, target: Target) -> Explanation:
        """K heatmaps an image, with r = w_ĵ ∘ x as scores, in falling order; see `Explainer.explain`.

        Where fewer than K filters speak for the class, what is left has score 0, a heatmap of zeros and no kind of layer.
        """
        with torch.no_grad():
            seen: Features = self.responses(images)
            logits = seen["logits"].float()
            prediction = logits.argmax(dim=1)
            classes = target_classes(target, prediction, self.num_classes)
            strength = self.scaling(seen["features"]) * self.weights.T[classes]
            scores, indices = strength.topk(self.heatmaps, dim=1)
            chosen = [[self.responses.filter_of(index) for index in row] for row in indices.tolist()]
            speaks = scores > 0
            return Explanation(
                heatmaps=self._draw(images, chosen).masked_fill(~speaks[..., None, None], 0),
                scores=scores.where(speaks, 0),
                labels=_texts(chosen, speaks, _label, silent="no further filter"),
                prediction=prediction,
                target=classes,
                logits=logits,
                reconstruction=self.class_scores(seen["features"]),
                kinds=_texts(chosen, speaks, lambda layer, _: layer.kind, silent=""),
                aggregation=self.aggregation,
            )

    def _draw(self, images: Tensor, chosen: Sequence[Sequence[LayerFilter]]) -> Tensor:
        """(B, K, H, W): the largest absolute value over the colours of each filter's heatmap, blurred if asked."""
        filters = [[(layer.name, channel) for layer, channel in row] for row in chosen]
        axes = {layer.name: layer.axis for layer in self.responses.layers}
        floors = self._floors(chosen) if self.floor else None
        maps = filter_heatmaps(self.method, images, filters, axes, floors).abs().amax(dim=2).float()
        return gaussian_blur(maps, self.sigma) if self.sigma > 0 else maps

    def _floors(self, chosen: Sequence[Sequence[LayerFilter]]) -> Tensor:
        """(B, K) activations above which filters are drawn."""
        indices = torch.tensor([[layer.start + channel for layer, channel in row] for row in chosen])
        return self.floor * self.usual[indices.to(self.usual.device)].clamp(min=0)


def _falling(sizes: Tensor) -> list[int]:
    """Indices of the sizes above 0, the largest first."""
    order = sizes.argsort(descending=True, stable=True)
    return [int(index) for index in order[: int((sizes > 0).sum())].tolist()]


def _label(layer: ResponseLayer, channel: int) -> str:
    """Such as ``5 features.4 #17``: the layer's number and name, and the filter."""
    return f"{layer.number} {layer.name} #{channel}"


def _texts(
    chosen: Sequence[Sequence[LayerFilter]], speaks: Tensor, text: Callable[[ResponseLayer, int], str], *, silent: str
) -> list[list[str]]:
    """B × K texts of the filters, another one for those that do not speak."""
    return [
        [text(*filter_) if loud else silent for filter_, loud in zip(row, louds, strict=True)]
        for row, louds in zip(chosen, speaks.tolist(), strict=True)
    ]


def _check(*, mu: float, heatmaps: int, filters: int, aggregation: str) -> None:
    if not 0 < mu < math.inf:
        raise ValueError(f"mu is {mu}: give a finite number above 0; a large one gives least squares.")
    if not 1 <= heatmaps <= filters:
        raise ValueError(f"heatmaps is {heatmaps}: give 1 to {filters}, the number of filters.")
    if aggregation not in AGGREGATIONS:
        raise ValueError(f"aggregation {aggregation!r} is unknown; choose one of {', '.join(AGGREGATIONS)}.")


def _check_not_negative(**options: float) -> None:
    for name, value in options.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} is {value}: give 0 or a finite number above it.")
