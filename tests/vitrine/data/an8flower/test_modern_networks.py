"""The small transformers and the small ConvNeXt: their size, their maps, and that they learn a colour."""

import pytest
import torch
from torch import nn

from vitrine.backbones.taps import captured
from vitrine.data.an8flower.modern_networks import FlowerConvNeXt, FlowerSwin, FlowerViT

NETWORKS = (FlowerViT, FlowerSwin, FlowerConvNeXt)


@pytest.mark.parametrize("network", NETWORKS)
def test_weights_take_a_megabyte_at_most(network: type[nn.Module]) -> None:
    assert sum(parameter.numel() for parameter in network().parameters()) <= 250_000


@pytest.mark.parametrize(
    ("network", "layer", "shape"),
    [
        (FlowerViT(12, size=64), "encoder", (2, 65, 64)),
        (FlowerSwin(12), "norm", (2, 8, 8, 64)),
        (FlowerConvNeXt(12), "features", (2, 64, 8, 8)),
    ],
)
def test_there_is_one_cell_or_token_for_8_pixels(network: nn.Module, layer: str, shape: tuple[int, ...]) -> None:
    with torch.no_grad(), captured(network, [layer]) as outputs:
        assert network(torch.randn(2, 3, 64, 64)).shape == (2, 12)
    assert outputs[layer].shape == shape


@pytest.mark.parametrize("network", NETWORKS)
def test_it_learns_the_colour_of_a_square(network: type[nn.Module]) -> None:
    torch.manual_seed(0)
    labels = torch.arange(6) % 3
    images = torch.zeros(6, 3, 80, 80)
    for i, label in enumerate(labels):
        images[i, label, 8 : 40 + i % 5, 8:40] = 2
    net = network(num_classes=3)
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(15):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images), labels).backward()
        optimizer.step()
    assert (net.eval()(images).argmax(dim=1) == labels).all()
