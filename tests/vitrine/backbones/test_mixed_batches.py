"""Networks that mix a batch: methods, explainers and frozen backbones treat their images one by one."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrine.attribution.registry import all_methods
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.explainers import MuLassoExplainer, MuLassoOptions

IMAGES = (
    torch.rand(3, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    ** torch.tensor([1.0, 2, 4])[:, None, None, None]
)
# Excitation backprop, LRP and the inversion mask have no rule for a norm of the batch, and say so; the
# networks here have no attention.
WITHOUT_RULE = {"AttentionRelevance", "AttentionRollout", "ExcitationBackprop", "InversionMask", "LRP"}
METHODS = {name: kind for name, kind in all_methods().items() if name not in {"Center", *WITHOUT_RULE}}


class Mixing(nn.Module):
    def __init__(self, mix: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.mix = mix

    def forward(self, maps: Tensor) -> Tensor:
        return self.mix(maps)


MIXES: dict[str, Callable[[], nn.Module]] = {
    "norm without statistics": lambda: nn.BatchNorm2d(6, track_running_stats=False),
    "functional norm": lambda: Mixing(lambda maps: F.batch_norm(maps, None, None, training=True)),
}


def a_network(mix: str) -> nn.Sequential:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), MIXES[mix](), nn.ReLU(), nn.Conv2d(6, 6, 3, 2, 1), nn.ReLU())
    return nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)).eval()


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("name", METHODS)
def test_a_batch_has_the_maps_of_its_images_alone(mix: str, name: str) -> None:
    kind = METHODS[name]
    method: Any = kind(a_network(mix), "0", **kind.quick_options)
    explained = {"target": 1} if kind.explains_classes else {"channel": 1}
    together = method.attribute(IMAGES, **explained)
    alone = torch.cat([method.attribute(image[None], **explained) for image in IMAGES])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("mix", MIXES)
def test_a_frozen_backbone_gives_the_outputs_of_images_alone(mix: str) -> None:
    network = a_network(mix)
    backbone = FrozenBackbone(network)
    output = backbone(IMAGES, ["0"])
    torch.testing.assert_close(output.logits, torch.cat([network(image[None]) for image in IMAGES]))
    torch.testing.assert_close(output.taps["0"], torch.cat([network[0](image[None]) for image in IMAGES]))


def test_an_explainer_gives_the_explanations_of_images_alone() -> None:
    torch.manual_seed(0)
    explainer = MuLassoExplainer(FrozenBackbone(a_network("norm without statistics")), MuLassoOptions(image_size=12))
    together = explainer.explain(IMAGES, 1)
    alone = torch.cat([explainer.explain(image[None], 1).scores for image in IMAGES])
    torch.testing.assert_close(together.scores, alone)
