"""Heads on plain forward passes: what their explainers give."""

import pytest
import torch

from tests.helpers.exported_networks import IMAGES, SIDE, TARGETS, built, srae
from vitrine.explainers import (
    MaskingExplainer,
    MaskingOptions,
    MuLassoExplainer,
    MuLassoOptions,
    SelectedFeaturesExplainer,
    SRAEExplainer,
    SRAEOptions,
)
from vitrine.export.head_networks import LogitsNetwork, MaskingNetwork, MuLassoNetwork, XFeatureNetwork


@pytest.mark.parametrize("trunk", ["separate", "shared"])
@torch.no_grad()
def test_contributions_of_every_head(trunk: str) -> None:
    explainer = srae(trunk)
    logits, embedded, contributions = XFeatureNetwork(explainer, SIDE)(IMAGES)
    assert embedded.shape == contributions.shape == (5, 2, 5)
    for row, target in enumerate((1, 3)):
        torch.testing.assert_close(contributions[:, row], explainer.explain(IMAGES, target).scores)
    torch.testing.assert_close(contributions.sum(dim=2), explainer.explain(IMAGES, 1).logit_estimate)
    torch.testing.assert_close(logits, explainer.backbone(IMAGES).logits)


@torch.no_grad()
def test_positions_and_dropped_x_features() -> None:
    options = SRAEOptions(layer="4", image_size=SIDE, explained_classes=[1, 3], pooling="positions", hidden=[12])
    explainer = SRAEExplainer(built(), options)
    explainer.heads.drop(torch.tensor([[True, False, False, False, False]] * 2))
    contributions = XFeatureNetwork(explainer, SIDE)(IMAGES)[2]
    assert not contributions[:, :, 0].any()
    torch.testing.assert_close(contributions[:, 1, 1:], explainer.explain(IMAGES, 3).scores)


@torch.no_grad()
def test_selected_features() -> None:
    options = SRAEOptions(layer="4", image_size=SIDE, explained_classes=[1, 3], num_features=2)
    explainer = SelectedFeaturesExplainer(built(), options)
    explainer.heads.indices.copy_(torch.tensor([[2, 5], [0, 7]]))
    contributions = XFeatureNetwork(explainer, SIDE)(IMAGES)[2]
    torch.testing.assert_close(contributions[:, 1], explainer.explain(IMAGES, 3).scores)


@pytest.mark.parametrize("normalization", ["layer", "whole"])
@torch.no_grad()
def test_scores_of_filters(normalization: str) -> None:
    explainer = MuLassoExplainer(built(), MuLassoOptions(image_size=SIDE))
    explainer.responses.normalization = normalization  # type: ignore[assignment]
    explainer.weights.copy_(torch.randn(explainer.weights.shape, generator=torch.Generator().manual_seed(2)))
    logits, responses, scores = MuLassoNetwork(explainer)(IMAGES)
    expected = explainer.responses(IMAGES)
    torch.testing.assert_close(responses, expected["features"])
    torch.testing.assert_close(scores, explainer.class_scores(expected["features"]))
    torch.testing.assert_close(logits, expected["logits"])


@torch.no_grad()
def test_masks_of_any_class() -> None:
    explainer = MaskingExplainer(built(), MaskingOptions(image_size=SIDE, mask_layers=("1", "4")))
    network = MaskingNetwork(explainer, SIDE)
    for target, given in ((TARGETS, TARGETS), (torch.full((5,), -1), None)):
        torch.testing.assert_close(network(IMAGES, target)[1], explainer.explain(IMAGES, given).heatmaps)


@torch.no_grad()
def test_logits_alone() -> None:
    backbone = built()
    torch.testing.assert_close(LogitsNetwork(backbone)(IMAGES)[0], backbone(IMAGES).logits)
