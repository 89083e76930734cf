"""Centres of cells by closed forms, on known networks, and when they are found anew."""

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision.models import get_model

from vitrine.attribution.receptive_field.cell_centers import CellCenters, centers_of_layer
from vitrine.backbones.guard import eval_guard


def centers_of(model: nn.Module, layer: str, size: tuple[int, int]) -> CellCenters | None:
    with eval_guard(model):
        return centers_of_layer(model, torch.zeros(1, 3, *size), layer)


def network(name: str) -> nn.Module:
    if name.startswith("timm:"):
        return timm.create_model(name.removeprefix("timm:"), num_classes=3, **TIMM.get(name, {}))
    model: nn.Module = get_model(name, weights=None, num_classes=3)
    return model


TIMM = {"timm:vit_tiny_patch16_224": {"img_size": (64, 96), "depth": 1}}
NETWORKS = [
    ("resnet18", "layer4", 0.5, 32),
    ("resnet18", "layer2", 0.5, 8),
    ("mobilenet_v2", "features", 0.5, 32),
    ("mobilenet_v3_small", "features", 0.5, 32),  # squeeze and excitation
    ("squeezenet1_0", "features", 17.5, 16),  # poolings that are not padded
    ("convnext_tiny", "features", 16, 32),
    ("swin_t", "permute", 16, 32),
    ("timm:tf_efficientnet_lite0", "bn2", 31.5, 32),  # padded at the end
    ("timm:vit_tiny_patch16_224", "blocks.0", 8, 16),
]


@pytest.mark.parametrize(("name", "layer", "first", "step"), NETWORKS)
def test_known_networks(name: str, layer: str, first: float, step: int) -> None:
    centers = centers_of(network(name), layer, (64, 96))
    assert centers is not None
    for side in centers:
        assert side == tuple(first + index * step for index in range(len(side)))
    assert len(centers.columns) > len(centers.rows) > 0


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 7])
@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 0, 1), (2, 1, 1), (3, 2, 1), (2, 3, 2)])
def test_a_convolution(kernel: int, stride: int, padding: int, dilation: int) -> None:
    net = nn.Sequential(nn.Conv2d(3, 2, kernel, stride, padding, dilation), nn.Flatten(), nn.LazyLinear(2))
    net(torch.zeros(1, 3, 30, 40))
    centers = centers_of(net, "0", (30, 40))
    assert centers is not None
    first = -padding + ((kernel - 1) * dilation + 1) / 2
    assert centers.columns == tuple(first + stride * index for index in range(len(centers.columns)))


def test_unequal_cells_have_centres_of_their_own() -> None:
    net = nn.Sequential(nn.AdaptiveAvgPool2d((3, 4)), nn.Flatten(), nn.Linear(36, 2))
    assert centers_of(net, "0", (10, 16)) == CellCenters((2.0, 5.0, 8.0), (2.0, 6.0, 10.0, 14.0))
    assert centers_of(net, "0", (8, 9)) == CellCenters((1.5, 4.0, 6.5), (1.5, 3.5, 5.5, 7.5))


def test_centres_are_found_once_for_each_size_until_the_layers_change() -> None:
    calls = []

    class Counted(nn.Conv2d):
        def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - its name in torch
            calls.append(input.shape)
            return super().forward(input)

    first_layer = Counted(3, 2, 3, stride=2, padding=1)
    net = nn.Sequential(first_layer, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))
    first = centers_of(net, "0", (16, 16))
    assert centers_of(net, "0", (16, 16)) is first
    assert len(calls) == 1
    centers_of(net, "0", (16, 24))
    assert len(calls) == 2
    first_layer.stride = (4, 4)
    moved = centers_of(net, "0", (16, 16))
    assert first is not None
    assert moved is not None
    assert (first.rows[:2], moved.rows[:2]) == ((0.5, 2.5), (0.5, 4.5))
    net[0] = nn.Conv2d(3, 2, 5)
    assert centers_of(net, "0", (16, 16)) == CellCenters(*[tuple(2.5 + index for index in range(12))] * 2)


def test_a_model_without_gradients_has_no_known_centres() -> None:
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * 14 * 14, 2))
    net[0].register_forward_hook(lambda *arguments: arguments[2].detach())
    assert centers_of(net, "0", (16, 16)) is None
