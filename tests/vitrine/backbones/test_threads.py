"""One model under several threads: each gets its own maps, and the model is afterwards as before."""

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitrine.attribution import GradCAM, InversionMask, LayerCAM, Saliency, ScoreCAM, UpsampledActivation
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.explainers import InversionExplainer, InversionOptions, SRAEExplainer, SRAEOptions
from vitrine.filters.responses import FilterResponses

IMAGES = torch.randn(12, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def a_network() -> nn.Sequential:
    torch.manual_seed(0)
    features = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU()]
    return nn.Sequential(*features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(12, 5)).train()


def srae(network: nn.Module) -> Callable[[Tensor], Tensor]:
    torch.manual_seed(0)
    options = SRAEOptions(layer="3", num_features=3, hidden=(6,), image_size=16, draw_inactive=True)
    explainer = SRAEExplainer(FrozenBackbone(network), options)
    return lambda image: explainer.explain(image, 1).heatmaps


def inversion(network: nn.Module) -> Callable[[Tensor], Tensor]:
    explainer = InversionExplainer(
        FrozenBackbone(network), InversionOptions(overrides={"inversion_steps": 1, "class_steps": 1}, image_size=16)
    )
    return lambda image: explainer.explain(image, 1).heatmaps


def responses(network: nn.Module) -> Callable[[Tensor], Tensor]:
    module = FilterResponses(FrozenBackbone(network), image_size=16)
    return lambda image: module(image)["features"]


def taps(network: nn.Module) -> Callable[[Tensor], Tensor]:
    backbone = FrozenBackbone(network)
    return lambda image: backbone(image, ["3"]).taps["3"]


def method(make: Callable[[nn.Module], Any], **explained: int) -> Callable[[nn.Module], Callable[[Tensor], Tensor]]:
    def job(network: nn.Module) -> Callable[[Tensor], Tensor]:
        one = make(network)
        return lambda image: one.attribute(image, **explained)

    return job


JOBS = {
    "GradCAM": method(lambda net: GradCAM(net, "3", relu=False), target=1),
    "GradCAM made anew": lambda net: lambda image: GradCAM(net, "3", relu=False).attribute(image, 1),
    "LayerCAM": method(lambda net: LayerCAM(net, "3"), target=1),
    "ScoreCAM": method(lambda net: ScoreCAM(net, "1"), target=1),
    "UpsampledActivation": method(lambda net: UpsampledActivation(net, "3"), channel=1),
    "Saliency of a channel": method(lambda net: Saliency(net, "3"), channel=1),
    "InversionMask": method(lambda net: InversionMask(net, "3", inversion_steps=1, class_steps=1), target=1),
    "taps": taps,
    "responses": responses,
    "SRAE": srae,
    "inversion": inversion,
}


@pytest.mark.parametrize("name", JOBS)
def test_each_thread_gets_its_own_maps_and_the_model_is_as_before(name: str) -> None:
    network = a_network()
    values = copy.deepcopy(network.state_dict())
    job = JOBS[name](network)
    alone = [job(image[None]) for image in IMAGES]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(job, [image[None] for image in IMAGES] * 3))
    for index, maps in enumerate(together):
        torch.testing.assert_close(maps, alone[index % len(IMAGES)], rtol=1e-4, atol=1e-6)
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert all(module.training for module in network.modules())
    assert not any(module._forward_hooks for module in network.modules())
    assert all(torch.equal(value, values[key]) for key, value in network.state_dict().items())
