"""Selected dimensions of Z: drawn and weighted, with an estimate of the logit or without one."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import vitrine
from tests.helpers.srae_explainers import EXPLAINED, TARGETS
from vitrine.attribution import ExcitationBackprop
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.explainers.srae.baselines import SelectedFeatures, SelectedFeaturesExplainer
from vitrine.explainers.srae.x_features import XFeatureOptions


def selected_on(network: nn.Module, layer: str, **options: Any) -> SelectedFeaturesExplainer:
    chosen = XFeatureOptions(layer, explained_classes=EXPLAINED, image_size=8, **options)
    return SelectedFeaturesExplainer(FrozenBackbone(network), chosen, ["ant", "bee", "cat"])


def test_the_logit_itself_is_excitation_backprop(network: nn.Module, images: Tensor) -> None:
    explainer = selected_on(network, "classifier", num_features=1, pooling="none")
    explainer.select(torch.tensor([[0], [2]]), torch.eye(3)[EXPLAINED])
    explanation = explainer.explain(images, TARGETS)
    expected = ExcitationBackprop(network.eval(), contrastive=True).attribute(images, target=torch.tensor(TARGETS))
    torch.testing.assert_close(explanation.heatmaps, expected, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(explanation.scores[:, 0], network(images)[range(5), TARGETS])
    torch.testing.assert_close(explanation.logit_estimate, network(images)[:, EXPLAINED])


def test_chosen_dimensions_are_drawn_and_weighted(network: nn.Module, images: Tensor) -> None:
    explainer = selected_on(network, "features", num_features=3)
    generator = torch.Generator().manual_seed(0)
    weights, bias = torch.randn(2, 8, generator=generator), torch.tensor([0.5, -1.0])
    explainer.select(torch.tensor([[4, 1], [7, -1]]), weights, bias)
    z = network.get_submodule("features")(images).mean(dim=(2, 3))
    ant, cat = (explainer.explain(images, target) for target in EXPLAINED)
    assert ant.heatmaps.shape == (5, 2, 8, 8)
    torch.testing.assert_close(ant.logit_estimate, z @ weights.T + bias)
    torch.testing.assert_close(ant.scores, z[:, [4, 1]] * weights[0, [4, 1]])
    torch.testing.assert_close(cat.scores[:, 0], z[:, 7] * weights[1, 7])
    assert not cat.scores[:, 1].any()
    assert not cat.heatmaps[:, 1].any()
    assert cat.labels[0][1] == ""
    whole = nn.Sequential(network.get_submodule("features"), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for k, unit in enumerate([4, 1]):
        expected = ExcitationBackprop(whole, contrastive=True).attribute(images, target=unit)[:, 0]
        torch.testing.assert_close(ant.heatmaps[:, k], expected, atol=1e-6, rtol=1e-4)


def test_without_weights_nothing_is_estimated(network: nn.Module, images: Tensor) -> None:
    explainer = selected_on(network, "features", num_features=2)
    explainer.select(torch.tensor([[4, 1], [7, 0]]))
    explanation = explainer.explain(images, 0)
    z = network.get_submodule("features")(images).mean(dim=(2, 3))
    assert explanation.logit_estimate is None
    torch.testing.assert_close(explanation.scores, z[:, [4, 1]])


def test_selected_features_saved_and_loaded(network: nn.Module, images: Tensor, tmp_path: Path) -> None:
    explainer = selected_on(network, "features", num_features=2)
    explainer.select(torch.tensor([[4, 1], [7, -1]]), torch.rand(2, 8), torch.tensor([0.5, -1.0]))
    explainer.save(tmp_path / "explainer")
    loaded = vitrine.load(tmp_path / "explainer", backbone=network)
    found, expected = loaded.explain(images, TARGETS), explainer.explain(images, TARGETS)
    torch.testing.assert_close(found.heatmaps, expected.heatmaps)
    torch.testing.assert_close(found.logit_estimate, expected.logit_estimate)
    assert found.labels == expected.labels


def test_a_lasso_that_uses_no_dimension_estimates_by_its_constant() -> None:
    """As one of a large α does; dimensions that are merely drawn estimate nothing."""
    heads = SelectedFeatures(classes=2, features=5, num_features=1)
    features = torch.rand(3, 5)
    assert heads.estimates(features) is None
    heads.bias = torch.tensor([0.5, -2.0])
    torch.testing.assert_close(heads.estimates(features), torch.tensor([[0.5, -2.0]]).expand(3, 2))
