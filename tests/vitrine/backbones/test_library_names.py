"""Names of networks that were given as they are: only such as build the same network."""

import pytest
import timm
import torchvision
from torch import nn

from vitrine.backbones.library_names import library_options
from vitrine.backbones.networks import BackboneOptions


def with_other_head(head: nn.Module) -> nn.Module:
    model = torchvision.models.squeezenet1_1()
    model.classifier[1] = head
    return model


def strided(model: nn.Module) -> nn.Module:
    vars(model.get_submodule("features.3"))["stride"] = 1
    return model


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (with_other_head(nn.Conv2d(512, 6, 1)), BackboneOptions("squeezenet1_1", num_classes=6)),
        (torchvision.models.mobilenet_v3_small(num_classes=2), BackboneOptions("mobilenet_v3_small", num_classes=2)),
        (timm.create_model("resnet10t", num_classes=3), BackboneOptions("timm:resnet10t", num_classes=3)),
        (with_other_head(nn.Sequential(nn.Conv2d(512, 6, 1), nn.ReLU())), None),
        (strided(torchvision.models.squeezenet1_1()), None),
        (torchvision.models.mobilenet_v2(width_mult=0.25), None),
        (nn.Sequential(nn.Linear(2, 2)), None),
        (nn.ReLU(), None),
    ],
)
def test_the_name_that_builds_the_same(model: nn.Module, expected: BackboneOptions | None) -> None:
    assert library_options(model) == expected
