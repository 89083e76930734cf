"""What of an explainer is one forward pass: images, and for some the explained classes, to named results."""

from collections.abc import Callable, Sequence
from functools import singledispatch

import torch
from torch import Tensor

from vitrine.attribution.cam.cam import CAM
from vitrine.attribution.cam.grad_cam import GradCAM
from vitrine.explainers.attribution.explainer import AttributionExplainer
from vitrine.explainers.base import Explainer
from vitrine.explainers.masking.explainer import MaskingExplainer
from vitrine.explainers.mu_lasso.explainer import MuLassoExplainer
from vitrine.explainers.srae.x_features import XFeatureExplainer
from vitrine.export.class_maps import ClassMapNetwork
from vitrine.export.head_networks import LogitsNetwork, MaskingNetwork, MuLassoNetwork, XFeatureNetwork

ForwardNetwork = LogitsNetwork | XFeatureNetwork | MuLassoNetwork | MaskingNetwork | ClassMapNetwork
REMEDY = (
    "export its backbone alone by logits_only=True (--logits), or a MaskingExplainer, whose mask is one forward pass"
)


@singledispatch
def forward_network(explainer: Explainer, _side: int) -> ForwardNetwork:
    """What can be exported of an explainer, as one forward pass.

    Args:
        explainer: is not changed.
        side: of the input in pixels.

    Raises:
        ValueError: for an explainer whose heatmaps need backward passes and that gives nothing else; it says what can be
            exported.
    """
    raise ValueError(
        f"{type(explainer).__name__} finds its heatmaps by backward passes for each image, which an ONNX file has not;"
        f" {REMEDY}."
    )


@forward_network.register
def _(explainer: XFeatureExplainer, side: int) -> ForwardNetwork:
    return XFeatureNetwork(explainer, side)


@forward_network.register
def _(explainer: MuLassoExplainer, _side: int) -> ForwardNetwork:
    return MuLassoNetwork(explainer)


@forward_network.register
def _(explainer: MaskingExplainer, side: int) -> ForwardNetwork:
    return MaskingNetwork(explainer, side)


@forward_network.register
def _(explainer: AttributionExplainer, side: int) -> ForwardNetwork:
    method = explainer.method
    if not isinstance(method, CAM) and type(method) is not GradCAM:
        name = type(method).__name__
        raise ValueError(
            f"{name} needs backward passes or many forward passes for each image, which an ONNX file has not;"
            f" {REMEDY}, or CAM or GradCAM on a network that ends in average pooling and one linear layer."
        )
    if explainer.options.sigma > 0:
        raise ValueError("sigma blurs the maps, which is not exported; set it to 0 and blur them afterwards.")
    return ClassMapNetwork(explainer.backbone, method, side)


def expected_results(explainer: Explainer, logits_only: bool) -> Callable[[Tensor], Sequence[Tensor]]:
    """What the explainer itself gives for images where the exported network gives its last output."""

    @torch.no_grad()
    def results(images: Tensor) -> Sequence[Tensor]:
        if logits_only:
            return [explainer.backbone(images).logits]
        if isinstance(explainer, XFeatureExplainer):
            output = explainer.features(images)
            embedded = explainer.heads.embed_all(output["features"].float())
            return [output["logits"], embedded, embedded * explainer.heads.predictors()]
        if isinstance(explainer, MuLassoExplainer):
            output = explainer.responses(images)
            return [output["logits"], output["features"], explainer.class_scores(output["features"])]
        explanation = explainer.explain(images)
        return [explanation.logits, explanation.heatmaps]

    return results
