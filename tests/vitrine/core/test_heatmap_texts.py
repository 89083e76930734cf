"""Texts of heatmaps, and those that explainers declare."""

import torch
from torch import nn

from vitrine.attribution.registry import all_methods
from vitrine.backbones import FrozenBackbone
from vitrine.core.heatmap_texts import HeatmapTexts
from vitrine.explainers import Explainer
from vitrine.explainers.attribution import AttributionExplainer, AttributionOptions


def test_scores_are_written_as_the_explainer_has_them() -> None:
    assert HeatmapTexts().score_text(-0.5) == "-0.50"
    assert HeatmapTexts(percent=True).score_text(0.123) == "12.3 %"
    assert HeatmapTexts(score="a score", symbol="s").figure == "a score, s"


def test_every_explainer_of_the_package_says_what_its_heatmaps_are() -> None:
    kinds = [kind for path, kind in Explainer.registered.items() if path.startswith("vitrine.explainers.")]
    assert len(kinds) >= 6
    silent = {kind.__name__ for kind in kinds if kind.texts == HeatmapTexts()}
    assert silent == {"AttributionExplainer"}  # which has texts of its method


def test_texts_of_a_method_name_it_and_its_signs() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    signed = {}
    for name in ("LRP", "IntegratedGradients", "Saliency", "GradCAM"):
        assert name in all_methods()
        explainer = AttributionExplainer(FrozenBackbone(model), AttributionOptions(name, image_size=16))
        texts = explainer.heatmap_texts()
        assert name in texts.heatmap
        assert "vᵢ" not in texts.figure
        signed[name] = texts.signed
        if not texts.signed:
            assert explainer.explain(torch.rand(1, 3, 16, 16)).heatmaps.min() >= 0
    assert signed == {"LRP": True, "IntegratedGradients": True, "Saliency": False, "GradCAM": False}
