"""The μ-Lasso selector: the few filters that each class rests on (Oramas, Wang and Tuytelaars, ICLR 2019)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.gradient.deconvnet import GuidedBackprop
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.image_sizes import blank_image, check_size
from vitrine.core.explanation import Aggregation, Explanation
from vitrine.core.heatmap_texts import HeatmapTexts
from vitrine.core.image_ops import gaussian_blur
from vitrine.core.options import Count, NonNegative, OptionError, Options, Positive
from vitrine.core.precision import without_autocast
from vitrine.data.preprocessing import Preprocessing
from vitrine.explainers.base import Explainer, Target, target_classes
from vitrine.explainers.mu_lasso.layer_choices import FilterChoices
from vitrine.filters.heatmaps import Filter, FilterVisualizer, filter_heatmaps
from vitrine.filters.layers import Layers, ResponseLayer
from vitrine.filters.responses import FilterResponses, Norm, Normalization
from vitrine.filters.scaling import ResponseScaling, Scaling
from vitrine.filters.token_layers import Tokens
from vitrine.solvers import project_l1_ball

Absent = Literal["hide", "show"]
ABSENT = "absent: "
"""What the label of a heatmap begins with that shows an absence."""
LayerFilter = tuple[ResponseLayer, int]
"""A layer, and the index of one of its channels."""


@dataclass(frozen=True)
class MuLassoOptions(Options):
    """Which filters are features, the bound μ, and how the selected ones are drawn.

    Args:
        layers: whose filters are features: ``all``, ``conv``, either ``_with_activations`` as the paper counts layers, or
            names, see `vitrine.filters.response_layers`.
        tokens: of layers of tokens, whether class and register tokens are filters of their own, see
            `vitrine.filters.token_layers.Tokens`.
        norm: of a filter's output over its places, see `FilterResponses`.
        normalization: of the responses, see `FilterResponses`.
        scaling: of the responses before the linear model, see `ResponseScaling`. With the paper's own, entries go as one
            over their layer's width, so that nearly all that is selected lies in narrow layers.
        mu: μ; it bounds the weights of the *scaled* responses; a large one gives least squares.
        num_heatmaps: K, filters drawn of an image.
        aggregation: how the K heatmaps are joined to one, see `Explanation.aggregate`.
        drawing: what is drawn of a filter: ``guided_backprop`` from its activations, or the ``activation`` map itself,
            upsampled, and nothing of a layer without places (the first row of the paper's table 1).
        stride_one: whether strided operators are taken back with stride 1 (section 3.3).
        pooling: of ``stride_one``, see `vitrine.attribution.Deconvnet`.
        sigma: of the Gaussian, in pixels, that heatmaps are blurred by; 0 for none.
        absent: what becomes of evidence that is an absence. ``hide`` draws what is there and counts for the class: filters of
            positive weight, by their positive activations. ``show`` draws all filters of positive r by their whole maps, as
            the paper does, and labels as absent those of negative weight, which respond less than usual, and those without
            a positive activation in the image.
        activation_threshold: share of a filter's median maximum over training images that an activation must exceed to be
            drawn, see `learn_activation_thresholds`.
        image_size: side of the backbone's input in pixels, used once to find its layers.

    Example:
        >>> MuLassoOptions(mu=0.5, scaling="standardized").num_heatmaps
        5
    """

    RENAMED: ClassVar[Mapping[str, str]] = {"heatmaps": "num_heatmaps", "floor": "activation_threshold"}

    layers: Layers = "all"
    norm: Norm = "l2"
    normalization: Normalization = "layer"
    scaling: Scaling = "paper"
    mu: Positive = 10.0
    num_heatmaps: Count = 5
    aggregation: Aggregation = "maximum"
    stride_one: bool = True
    pooling: Literal["switches", "resampled"] = "switches"
    sigma: NonNegative = 0.0
    activation_threshold: NonNegative = 0.0
    image_size: Count = 224
    tokens: Tokens = "apart"
    absent: Absent = "hide"
    drawing: Literal["guided_backprop", "activation"] = "guided_backprop"

    @classmethod
    @override
    def from_dict(cls, entries: Mapping[str, Any]) -> Self:
        # Explainers saved earlier do not say, and go on to draw everything.
        return super().from_dict({"absent": "show", **entries})


class MuLassoExplainer(Explainer):
    """A sparse linear model of each class on the responses x of all filters, and heatmaps of the filters that speak for it.

    W = argmin ‖XᵀW − Lᵀ‖² with ‖w_j‖₁ ≤ μ (equation 1). An image is explained by the K filters of highest r = w_ĵ ∘ x, each
    drawn by guided backprop with stride one (sections 3.2 and 3.3). With scaled responses r may be positive where a filter of
    negative weight responds less than usual, and a response is a norm, in which negative activations count too; so, unless
    ``absent`` is ``show``, filters of positive weight that have a positive activation are taken, and drawn by that.

    Args:
        backbone: the frozen classifier.
        options: which filters are features, μ, and how the selected ones are drawn.
        classes: names of the backbone's logits.
        preprocessing: how images are prepared for the backbone.

    Raises:
        OptionError: for layers without filters and an image size that the backbone does not take, with a choice that was
            tried and works; and for more heatmaps than there are filters.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from vitrine.backbones import FrozenBackbone
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
        >>> explainer = MuLassoExplainer(FrozenBackbone(model), MuLassoOptions(num_heatmaps=2, image_size=16))
        >>> explainer.weights.data[:3, 0] = torch.tensor([0.5, 0.25, 0.25])
        >>> explainer.relevant_filters()
        [('0', 0), ('0', 1), ('0', 2)]
        >>> explainer.explain(torch.rand(4, 3, 16, 16), target=0).heatmaps.shape
        torch.Size([4, 2, 16, 16])
    """

    options_type = MuLassoOptions
    texts = HeatmapTexts(
        heatmap="Each heatmap shows what one filter of the network responds to, one of the few that the class rests on.",
        score="the filter's response times its weight for the explained class",
        symbol="r = wⱼ ∘ x",
    )
    renamed_tensors: ClassVar[Mapping[str, str]] = {"usual": "median_maxima"}
    options: MuLassoOptions

    def __init__(
        self,
        backbone: FrozenBackbone,
        options: MuLassoOptions | None = None,
        classes: Sequence[str] | None = None,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        super().__init__(backbone, options, classes, preprocessing)
        options = self.options
        self.method = GuidedBackprop(backbone.model, stride_one=options.stride_one, pooling=options.pooling)
        kind = {"norm": options.norm, "normalization": options.normalization, "tokens": options.tokens}
        self.choices = FilterChoices(backbone, self.method, options.layers, options.image_size, **kind)
        self.responses = self.choices.responses()
        if options.num_heatmaps > self.responses.num_filters:
            allowed = f"1 to {self.responses.num_filters}, the number of filters"
            raise OptionError("num_heatmaps", options.num_heatmaps, allowed)
        self.options = replace(options, layers=[layer.name for layer in self.responses.layers])
        self.scaling = ResponseScaling(self.responses.num_filters, options.scaling)
        self.weights = nn.Parameter(torch.zeros(self.responses.num_filters, self.responses.num_classes))
        self.register_buffer("intercept", torch.zeros(self.responses.num_classes))
        self.register_buffer("median_maxima", torch.zeros(self.responses.num_filters))

    intercept: Tensor
    """(C,); 0 but for ``standardized``."""
    median_maxima: Tensor
    """(m,) median over training images of each selected filter's largest activation, where it was learned; 0 elsewhere."""

    @property
    def num_classes(self) -> int:
        """C, the number of the backbone's logits."""
        return self.responses.num_classes

    @property
    @override
    def head_classes(self) -> Sequence[int]:
        return range(self.num_classes)

    @property
    @override
    def class_axes(self) -> Mapping[str, int]:
        return {"weights": 1, "intercept": 0}

    @override
    def redraw_heads(self) -> None:
        self.weights.data.zero_()
        self.intercept.zero_()

    @property
    def feature_width(self) -> int:
        """Numbers that `cacheable_features` gives of an image."""
        return self.responses.num_filters

    @property
    def cacheable_features(self) -> FilterResponses:
        """The responses x, which one pass over the data gives once for all."""
        return self.responses

    def check_drawable(self) -> None:
        """Makes sure, by an image of noise, that the filters of all layers can be drawn, which a fit does not show.

        Raises:
            OptionError: of ``layers`` where it is not so, with some that were tried and work.
        """
        self.choices.check_drawable(self.responses)

    def check_size(self, side: int) -> None:
        """Makes sure that there are responses to images of side × side pixels, as those of a data set.

        Raises:
            OptionError: of ``image_size`` where the backbone does not take them, or the layers have other filters for them.
        """
        check_size(self.backbone, side)
        try:
            with torch.no_grad():
                self.responses(blank_image(self.backbone.model, side))
        except ValueError as error:
            wanted = f"{self.options.image_size}, for which the layers were found: {str(error).rstrip('.')}"
            raise OptionError("image_size", side, wanted) from error

    def class_scores(self, responses: Tensor) -> Tensor:
        """(B, C) reconstruction of the labels from (B, m) responses x: Wᵀx, scaled, and the intercept."""
        with without_autocast(responses):
            scores: Tensor = self.scaling(responses) @ self.weights + self.intercept
        return scores

    @torch.no_grad()
    def project(self) -> None:
        """Brings each class's weights back into the ℓ1 ball of radius μ, to the nearest point in it."""
        self.weights.copy_(project_l1_ball(self.weights, self.options.mu))

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

        Where fewer than K filters speak for the class, what is left is not valid: score 0, a heatmap of
        zeros, and neither label nor kind of layer.
        """
        with torch.no_grad():
            seen, maxima = self.responses.with_maxima(images)
            logits = seen["logits"].float()
            prediction = logits.argmax(dim=1)
            classes = target_classes(target, prediction, self.num_classes)
            weights = self.weights.T[classes]
            strength, absent = self.scaling(seen["features"]) * weights, (weights < 0) | (maxima <= 0)
            if self.options.absent == "hide":
                strength = strength.masked_fill(absent, 0)
            scores, indices = strength.topk(self.options.num_heatmaps, dim=1)
            chosen = [[self.responses.filter_of(index) for index in row] for row in indices.tolist()]
            speaks = scores > 0
            return Explanation(
                heatmaps=self._draw(images, chosen).masked_fill(~speaks[..., None, None], 0),
                scores=scores.where(speaks, 0),
                labels=_labels(chosen, speaks, absent.gather(1, indices)),
                prediction=prediction,
                target=classes,
                logits=logits,
                valid=speaks,
                class_scores=self.class_scores(seen["features"]),
                kinds=_kinds(chosen, speaks),
                aggregation=self.options.aggregation,
            )

    def _draw(self, images: Tensor, chosen: Sequence[Sequence[LayerFilter]]) -> Tensor:
        """(B, K, H, W): of each filter's heatmap the largest absolute value over the colours, blurred if asked."""
        filters = [[(layer.name, channel) for layer, channel in row] for row in chosen]
        views = {layer.name: layer.filters_first for layer in self.responses.layers}
        whole = self.options.absent == "show" and not self.options.activation_threshold
        thresholds = None if whole else self._thresholds(chosen)
        if self.options.drawing == "activation":
            activations = FilterVisualizer(self.backbone.model, self.responses.layers).activations(images, filters)
            maps = activations if thresholds is None else _excess(activations, thresholds)
        else:
            maps = filter_heatmaps(self.method, images, filters, views, thresholds).abs().amax(dim=2).float()
        return gaussian_blur(maps, self.options.sigma) if self.options.sigma > 0 else maps

    def _thresholds(self, chosen: Sequence[Sequence[LayerFilter]]) -> Tensor:
        """(B, K) activations above which filters are drawn."""
        indices = torch.tensor([[layer.start + channel for layer, channel in row] for row in chosen])
        return self.options.activation_threshold * self.median_maxima[indices.to(self.median_maxima.device)].clamp(
            min=0
        )


def _excess(maps: Tensor, thresholds: Tensor) -> Tensor:
    """By how much (B, K, H, W) maps exceed (B, K) thresholds; 0 where they do not."""
    return (maps - thresholds.to(maps)[..., None, None]).clamp(min=0)


def _falling(sizes: Tensor) -> list[int]:
    """Indices of the sizes above 0, the largest first."""
    order = sizes.argsort(descending=True, stable=True)
    return [int(index) for index in order[: int((sizes > 0).sum())].tolist()]


def _labels(chosen: Sequence[Sequence[LayerFilter]], speaks: Tensor, absent: Tensor) -> list[list[str]]:
    """B × K labels such as ``5 features.4 #17``: the layer's number and name, and the filter; none where none speaks."""
    return [
        [
            f"{ABSENT if missing else ''}{layer.number} {layer.name} #{channel}" if loud else ""
            for (layer, channel), loud, missing in zip(row, louds, missings, strict=True)
        ]
        for row, louds, missings in zip(chosen, speaks.tolist(), absent.tolist(), strict=True)
    ]


def _kinds(chosen: Sequence[Sequence[LayerFilter]], speaks: Tensor) -> list[list[str]]:
    """B × K kinds of layers; none where no filter speaks."""
    return [
        [layer.kind if loud else "" for (layer, _), loud in zip(row, louds, strict=True)]
        for row, louds in zip(chosen, speaks.tolist(), strict=True)
    ]
