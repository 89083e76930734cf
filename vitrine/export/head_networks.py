"""Heads as plain forward networks on their backbones: x-features, scores of filters, masks, and the logits alone."""

from functools import partial
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrine.backbones.copying import copied_network
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.image_sizes import blank_image
from vitrine.backbones.pooling import pooled
from vitrine.backbones.token_kinds import TokenKinds, token_kinds
from vitrine.explainers.masking.explainer import MaskingExplainer
from vitrine.explainers.mu_lasso.explainer import MuLassoExplainer
from vitrine.explainers.srae.x_features import XFeatureExplainer, XFeatureHeads
from vitrine.export.tapped_network import TappedNetwork
from vitrine.filters.layers import ResponseLayer


class LogitsNetwork(nn.Module):
    """(B, n) logits of the backbone."""

    takes_target: ClassVar[bool] = False
    outputs: ClassVar[tuple[str, ...]] = ("logits",)

    def __init__(self, backbone: FrozenBackbone) -> None:
        super().__init__()
        self.network = TappedNetwork(backbone)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Of (B, 3, H, W) images."""
        return (self.network(images)[0],)


class XFeatureNetwork(nn.Module):
    """Logits, (B, J, n) x-features E and contributions vᵢEᵢ of all heads; their heatmaps are backward passes."""

    takes_target: ClassVar[bool] = False
    outputs: ClassVar[tuple[str, ...]] = ("logits", "x_features", "contributions")

    def __init__(self, explainer: XFeatureExplainer, side: int) -> None:
        super().__init__()
        self.layer, self.pooling = explainer.features.layer, explainer.options.pooling
        self.network = TappedNetwork(explainer.backbone, (self.layer,))
        self.heads = cast("XFeatureHeads", copied_network(explainer.heads))
        image = blank_image(explainer.backbone.model, side)
        with torch.no_grad():
            activation = self.network(image)[1][self.layer]
            self.kinds: TokenKinds | None = None
            pooled(activation, self.pooling, image.shape[1:], partial(self._found_kinds, explainer, activation, side))

    def _found_kinds(self, explainer: XFeatureExplainer, activation: Tensor, side: int) -> TokenKinds:
        self.kinds = token_kinds(explainer.backbone.model, activation.shape[1], (side, side))
        return self.kinds

    def _known_kinds(self) -> TokenKinds:
        if self.kinds is None:
            raise ValueError("The kinds of tokens are not known.")
        return self.kinds

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Of (B, 3, H, W) images."""
        logits, seen = self.network(images)
        vectors = pooled(seen[self.layer], self.pooling, images.shape[1:], self._known_kinds)
        if vectors is None:
            raise ValueError(f"pooling {self.pooling!r} makes no vectors of layer {self.layer!r}.")
        embedded = self.heads.embed_all(vectors.flatten(1).float())
        return logits, embedded, embedded * self.heads.predictors()


class MuLassoNetwork(nn.Module):
    """Logits, (B, m) filter responses x, and (B, C) scores Wᵀx; heatmaps of filters are backward passes."""

    takes_target: ClassVar[bool] = False
    outputs: ClassVar[tuple[str, ...]] = ("logits", "responses", "class_scores")

    def __init__(self, explainer: MuLassoExplainer) -> None:
        super().__init__()
        responses = explainer.responses
        self.response_layers, self.squared = responses.layers, responses.norm == "squared"
        self.by_layer = responses.normalization == "layer"
        modules = tuple(dict.fromkeys(layer.module for layer in self.response_layers))
        self.network = TappedNetwork(explainer.backbone, modules)
        self.scaling, self.weights, self.intercept = (
            copied_network(explainer.scaling),
            explainer.weights,
            explainer.intercept,
        )

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Of (B, 3, H, W) images."""
        logits, seen = self.network(images)
        parts = [self._norms(layer, seen[layer.module]) for layer in self.response_layers]
        if self.by_layer:
            parts = [_divided(part, part.sum(dim=1, keepdim=True)) for part in parts]
        x = torch.cat(parts, dim=1)
        if not self.by_layer:
            x = _divided(x, x.square().sum(dim=1, keepdim=True).sqrt())
        return logits, x, self.scaling(x) @ self.weights + self.intercept

    def _norms(self, layer: ResponseLayer, output: Tensor) -> Tensor:
        filters = layer.filters_first(output).float()
        squares = filters.square() if filters.ndim == 2 else filters.flatten(2).square().sum(dim=2)
        return squares if self.squared else squares.sqrt()


def _divided(values: Tensor, by: Tensor) -> Tensor:
    return torch.where(by > 0, values / torch.where(by > 0, by, 1), values)


class MaskingNetwork(nn.Module):
    """Logits, and the (B, 1, H, W) mask of the target, which is a class or −1 for the predicted one."""

    takes_target: ClassVar[bool] = True
    outputs: ClassVar[tuple[str, ...]] = ("logits", "heatmap")

    def __init__(self, explainer: MaskingExplainer, side: int) -> None:
        super().__init__()
        self.network = TappedNetwork(explainer.backbone, explainer.layers)
        self.decoder = copied_network(explainer.decoder)
        image = blank_image(explainer.backbone.model, side)
        with torch.no_grad():
            self.layouts = explainer.layouts_of(self.network(image)[1], image)

    def forward(self, images: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        """Of (B, 3, H, W) images and (B,) int64 targets."""
        logits, seen = self.network(images)
        maps = [layout(seen[name]).float() for name, layout in zip(self.network.layers, self.layouts, strict=True)]
        masks = self.decoder(maps, torch.where(target < 0, logits.argmax(dim=1), target))
        return logits, F.interpolate(masks, images.shape[2:], mode="bilinear", align_corners=False)
