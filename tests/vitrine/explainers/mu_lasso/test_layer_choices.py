"""Image sizes and layers that a network refuses to the μ-Lasso: each named remedy is tried here once more."""

import ast
import re
from typing import Any

import pytest
import timm
import torch
from torch import nn

from tests.helpers.token_networks import Opaque, SmallMixer, timm_vit
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.core.options import OptionError
from vitrine.explainers import MuLassoExplainer
from vitrine.explainers.mu_lasso.explainer import MuLassoOptions


class OpaqueStep(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return Opaque.apply(x)


def with_opaque_step() -> nn.Module:
    """Only its first two layers can be drawn."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), OpaqueStep(), nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, 3),
    )  # fmt: skip


def convolutions() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


def swin() -> nn.Module:
    options: dict[str, Any] = {"embed_dim": 12, "depths": (1, 1), "num_heads": (2, 2), "window_size": 4}
    return timm.create_model("swin_tiny_patch4_window7_224", img_size=32, num_classes=3, **options)


def explainer(model: nn.Module, image_size: int = 32, **options: Any) -> MuLassoExplainer:
    return MuLassoExplainer(
        FrozenBackbone(model.eval()), MuLassoOptions(num_heatmaps=1, image_size=image_size, **options)
    )


def assert_works(model: nn.Module, layers: list[str]) -> None:
    selector = explainer(model, layers=layers)
    selector.check_drawable()
    selector.weights.data[:, 0] = torch.rand(len(selector.weights))
    assert selector.explain(torch.randn(1, 3, 32, 32), 0).heatmaps.isfinite().all()


def named_in(error: OptionError) -> list[str]:
    found = re.match(r"(\[.*?'\])", error.wanted)
    assert found, error
    names: list[str] = ast.literal_eval(found[1])
    return names


@pytest.mark.parametrize(
    ("make", "layers", "told", "works"),
    [
        (timm_vit, ["blocks.0.nrm1"], "no layer 'blocks.0.nrm1'", ["blocks.0.norm1"]),
        (timm_vit, ["norm", "blocks.0.nrm1"], "no layer 'blocks.0.nrm1'", ["norm", "blocks.0.norm1"]),
        (timm_vit, ["blocks.0.norm1[7]"], "no class or register token", ["blocks.0.norm1"]),
        (SmallMixer, ["pairs"], "gives no tensor", ["pairs.inner"]),
        (convolutions, ["3.weight"], "no layer '3.weight'", None),
        (swin, ["layers.0.blocks.0.attn.softmax"], "attn.softmax", None),
    ],
)
def test_layers_without_filters(make: Any, layers: list[str], told: str, works: list[str] | None) -> None:
    model = make()
    with pytest.raises(OptionError, match=re.escape(told)) as refused:
        explainer(model, layers=layers)
    assert (refused.value.name, refused.value.value) == ("layers", layers)
    assert works is None or named_in(refused.value) == works
    assert_works(model, named_in(refused.value))


@pytest.mark.parametrize("layers", ["all", "conv", ["3"], ["0", "3"]])
def test_layers_that_cannot_be_drawn(layers: Any) -> None:
    model = with_opaque_step()
    selector = explainer(model, layers=layers)
    with pytest.raises(OptionError, match=r"works: GuidedBackprop has no rule for .*Opaque") as refused:
        selector.check_drawable()
    assert (refused.value.name, refused.value.value) == ("layers", layers)
    assert named_in(refused.value) == ["0"]
    assert_works(model, ["0"])


@pytest.mark.parametrize("make", [timm_vit, swin, convolutions, SmallMixer])
def test_layers_that_can_be_drawn(make: Any) -> None:
    explainer(make()).check_drawable()


def test_a_network_without_a_rectifier() -> None:
    linear = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    with pytest.raises(OptionError, match=r"layers is 'all'; give layers of another network.*no ReLU"):
        explainer(linear).check_drawable()


def test_an_image_size_that_the_backbone_does_not_take() -> None:
    for make in (timm_vit, swin):
        with pytest.raises(OptionError, match="image_size is 40; give 32, which works"):
            explainer(make(), image_size=40)
        selector = explainer(make())
        with pytest.raises(OptionError, match="image_size is 48; give 32, which works"):
            selector.check_size(48)
    explainer(convolutions()).check_size(17)


def test_an_image_size_with_other_tokens() -> None:
    selector = explainer(timm_vit(dynamic_img_size=True))
    selector.check_size(32)
    with pytest.raises(OptionError, match="image_size is 48; give 32, for which the layers were found"):
        selector.check_size(48)
