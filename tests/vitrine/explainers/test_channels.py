"""Explainers, responses and methods on networks of grey, RGBA and six-channel images."""

import pytest
import torch
from torch import Tensor, nn

from vitrine.attribution import GradCAM, GuidedBackprop
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.explainers import (
    Explainer,
    InversionExplainer,
    InversionOptions,
    MuLassoExplainer,
    MuLassoOptions,
    SRAEExplainer,
    SRAEOptions,
)
from vitrine.filters.responses import FilterResponses


def a_backbone(channels: int) -> FrozenBackbone:
    torch.manual_seed(0)
    body = [nn.Conv2d(channels, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU()]
    return FrozenBackbone(nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)))


def explainers(backbone: FrozenBackbone) -> list[Explainer]:
    steps = {"inversion_steps": 1, "class_steps": 1}
    return [
        SRAEExplainer(backbone, SRAEOptions(layer="3", num_features=2, hidden=(6,), image_size=16)),
        InversionExplainer(backbone, InversionOptions(overrides=steps, image_size=16)),
        MuLassoExplainer(backbone, MuLassoOptions(image_size=16)),
    ]


@pytest.mark.parametrize("channels", [1, 2, 4, 6])
def test_networks_of_other_channels_are_explained(channels: int) -> None:
    backbone, images = a_backbone(channels), torch.rand(2, channels, 16, 16)
    for explainer in explainers(backbone):
        maps: Tensor = explainer.attribute(images, 1)
        assert maps.shape == (2, 1, 16, 16)
    assert FilterResponses(backbone, image_size=16)(images)["features"].shape[0] == 2
    assert GradCAM(backbone.model, "3").attribute(images).shape == (2, 1, 16, 16)
    assert GuidedBackprop(backbone.model).attribute(images).shape == images.shape
