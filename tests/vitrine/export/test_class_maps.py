"""CAM and Grad-CAM in closed form: the maps of the methods themselves, for any class."""

from typing import Any

import pytest
import torch
from torch import nn

from tests.helpers.exported_networks import IMAGES, SIDE, TARGETS, built, by_method
from vitrine.attribution import GradCAM
from vitrine.export.class_maps import ClassMapNetwork

CASES: list[tuple[str, dict[str, Any]]] = [
    ("CAM", {}),
    ("CAM", {"relu": True}),
    ("GradCAM", {"alignment": "image"}),
    ("GradCAM", {"relu": False, "layer": "4"}),
]


@pytest.mark.parametrize(("method", "arguments"), CASES)
def test_maps_are_those_of_the_method(method: str, arguments: dict[str, Any]) -> None:
    explainer: Any = by_method(method, **arguments)
    network = ClassMapNetwork(explainer.backbone, explainer.method, SIDE)
    for target, given in ((TARGETS, TARGETS), (torch.full((5,), -1), None)):
        with torch.no_grad():
            logits, heatmap = network(IMAGES, target)
        expected = explainer.explain(IMAGES, given)
        torch.testing.assert_close(heatmap, expected.heatmaps, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(logits, expected.logits)
        assert heatmap.abs().max() > 0.01


def test_networks_that_end_otherwise_are_refused() -> None:
    backbone = built(nn.Identity())
    with pytest.raises(ValueError, match=r"average pooling of layer '4' and one linear layer.*--logits"):
        ClassMapNetwork(backbone, GradCAM(backbone.model), SIDE)
