"""Masks of many cells: their layers, the relevance that they are a sum of, the gate and the smoothing."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models

from vitrine.attribution import InversionMask
from vitrine.attribution.inversion import (
    InversionLayers,
    InversionSettings,
    InvertedNetwork,
    inversion_layers,
    settings_of,
)
from vitrine.attribution.inversion.layers import stage_layers
from vitrine.attribution.inversion.mask import MaskMaps
from vitrine.attribution.inversion.settings import Variant
from vitrine.backbones.guard import eval_guard
from vitrine.core.image_ops import gaussian_blur


class Stages(nn.Module):
    """Three resolutions of a 32 × 32 image: 8, 4 and 2 cells a side; functional ReLUs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.first = nn.Conv2d(3, 4, 4, stride=4)
        self.second = nn.Conv2d(4, 6, 2, stride=2)
        self.third = nn.Conv2d(6, 5, 2, stride=2)
        self.head = nn.Linear(5, 3)

    def forward(self, images: Tensor) -> Tensor:
        maps = F.relu(self.second(F.relu(self.first(images))))
        return self.head(F.relu(self.third(maps)).mean(dim=(2, 3)))


@pytest.fixture
def network() -> Stages:
    return Stages().double().eval().requires_grad_(requires_grad=False)


@pytest.fixture
def images() -> Tensor:
    return torch.randn(3, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("resnet18", ("relu", "layer1", "layer2", "layer3", "layer4")),
        ("mobilenet_v2", ("features.1", "features.3", "features.6", "features.13", "features")),
        ("squeezenet1_0", ("features.1", "features.5", "features.10", "features")),
        ("alexnet", ("features.1", "features.4", "features.11", "features")),
    ],
)
def test_the_last_layer_of_every_resolution_is_found(name: str, layers: tuple[str, ...]) -> None:
    model = models.get_model(name).eval()
    with eval_guard(model):
        actual = inversion_layers(model, torch.zeros(1, 3, 224, 224), mask_from="stages")
        finest = inversion_layers(model, torch.zeros(1, 3, 224, 224), mask_from="finest")
    assert actual.mask == layers
    assert actual.inversion == finest.inversion == layers[-1]
    assert finest.mask == layers[:1]


def test_layers_behind_the_last_one_are_none(network: Stages, images: Tensor) -> None:
    assert stage_layers(network, images, "second") == ("first", "second")


@pytest.mark.parametrize("maps", ["gradient", "guided"])
def test_relevance_is_the_positive_part_of_gradient_and_activation(network: Stages, images: Tensor, maps: Any) -> None:
    classes = torch.tensor([0, 2, 1])
    actual = InvertedNetwork(network, InversionLayers("third", ("second",)), InversionSettings(maps=maps)).read(
        images, lambda _: classes
    )
    # By hand: the convolution's own output is the tap, and the ReLU behind it cuts what is negative.
    tap = network.second(F.relu(network.first(images))).requires_grad_()
    behind = network.third(F.relu(tap))
    upper = network.head.weight[classes] / (behind.shape[2] * behind.shape[3])
    if maps == "guided":
        upper = upper.clamp(min=0)
    signal = upper[:, :, None, None] * (behind > 0)
    (below,) = torch.autograd.grad(behind, tap, signal)
    gradient = (
        torch.autograd.grad(network.third(F.relu(tap)), tap, signal)[0] if maps == "gradient" else below.clamp(min=0)
    )
    expected = (gradient * tap.detach().clamp(min=0)).clamp(min=0)
    torch.testing.assert_close(actual.maps.layers, (expected,))


def test_every_layer_weighs_the_same_however_many_channels_it_has() -> None:
    maps = [
        torch.rand(2, channels, side, side) * scale
        for channels, side, scale in ((3, 8, 1.0), (50, 4, 100.0), (7, 2, 1e-3))
    ]
    together = MaskMaps.of(maps)
    assert together.channels == 60
    for part in together.layers:
        torch.testing.assert_close(part.sum(dim=1).mean(dim=(1, 2)), torch.ones(2))
    alone = MaskMaps.of(maps[1:2]).layers
    assert torch.equal(alone[0], maps[1])


def test_the_gate_is_a_power_of_the_top_over_its_mean() -> None:
    fine, top = torch.ones(1, 2, 2, 2), torch.tensor([[[[4.0, 0.0], [0.0, 12.0]]]])  # of mean 4
    gated = MaskMaps.of([fine], top, gate=0.5)
    weights = torch.tensor([[1.0, 3.0]])
    expected = 4 * torch.tensor([[[[1.0, 0.0], [0.0, 3**0.5]]]])
    torch.testing.assert_close(gated.combined(weights), expected)
    rows = MaskMaps.of([fine.repeat(3, 1, 1, 1)], top * torch.ones(3, 1, 1, 1), gate=0.5).rows(torch.tensor([2, 0]))
    torch.testing.assert_close(rows.combined(weights.repeat(2, 1)), expected.repeat(2, 1, 1, 1))


def test_smoothing_is_a_gaussian_of_a_share_of_the_width() -> None:
    maps = torch.rand(2, 3, 20, 30, dtype=torch.float64)
    weights = torch.rand(2, 3, dtype=torch.float64)
    expected = gaussian_blur(torch.einsum("rn,rnhw->rhw", weights, maps)[:, None], 3.0)
    torch.testing.assert_close(MaskMaps((maps,), smoothing=0.1).combined(weights), expected)


def test_a_layer_that_says_nothing_leaves_no_nan() -> None:
    dead = [torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 2, 2)]
    maps = MaskMaps.of(dead, dead[1].sum(dim=1, keepdim=True), gate=0.5, smoothing=0.1)
    assert maps.combined(torch.ones(1, 5)).eq(0).all()


@pytest.mark.parametrize("options", [{}, {"mask_from": "stages"}, {"maps": "activations"}])
@pytest.mark.parametrize("variant", ["fine", "smooth"])
def test_classes_together_are_classes_alone(
    network: Stages, images: Tensor, variant: Variant, options: dict[str, Any]
) -> None:
    method = InversionMask(network, variant=variant, class_steps=3, **options)
    together = method.attribute(images, torch.tensor([[0, 1], [2, 0], [1, 2]]))
    for column in range(2):
        for row, classes in enumerate([[0, 1], [2, 0], [1, 2]]):
            alone = method.attribute(images[row : row + 1], classes[column])
            torch.testing.assert_close(together[row, column], alone[0], rtol=1e-9, atol=1e-9)


def test_without_steps_the_mask_is_the_sum_of_the_maps(network: Stages, images: Tensor) -> None:
    settings = settings_of("fine", gate=0.25)
    reading = InvertedNetwork(network, InversionLayers("third", ("first",)), settings).read(images)
    relevance = InvertedNetwork(network, InversionLayers("third", ("third",)), InversionSettings(maps="guided"))
    top = relevance.read(images).maps.layers[0].sum(dim=1, keepdim=True)
    gate = F.interpolate((top / top.mean(dim=(1, 2, 3), keepdim=True)) ** 0.25, (8, 8), mode="bilinear")
    total = reading.maps.layers[0].sum(dim=1, keepdim=True) * gate
    low, high = total.amin(dim=(2, 3), keepdim=True), total.amax(dim=(2, 3), keepdim=True)
    expected = F.interpolate((total - low) / (high - low), (32, 32), mode="bilinear", align_corners=False)
    method = InversionMask(network, variant="fine", gate=0.25)
    torch.testing.assert_close(method.attribute(images), expected)
