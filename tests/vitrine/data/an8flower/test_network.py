"""The small network: its size, its taps, and that it learns a colour."""

import pytest
import torch
from torch import nn

from vitrine.data.an8flower.network import FlowerNet


@pytest.mark.parametrize("side", [64, 80, 250])
def test_any_size_goes_in(side: int) -> None:
    net = FlowerNet(num_classes=12)
    with torch.no_grad():
        image = torch.randn(2, 3, side, side + 3)
        maps = net.features(image)
        assert net(image).shape == (2, 12)
    assert maps.shape == (2, 64, side // 4, (side + 3) // 4)
    assert (maps >= 0).all()
    assert (maps > 0).any()


def test_it_is_small_and_of_relu_and_pooling_alone() -> None:
    net = FlowerNet()
    assert sum(p.numel() for p in net.parameters()) < 250_000
    allowed = (nn.Sequential, nn.Conv2d, nn.ReLU, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.Flatten, nn.Linear)
    assert all(isinstance(module, allowed) for module in net.modules() if module is not net)
    assert [name for name, _ in net.named_children()] == ["features", "pool", "classifier"]


def test_it_learns_the_colour_of_a_square() -> None:
    torch.manual_seed(0)
    labels = torch.arange(6) % 3
    images = torch.zeros(6, 3, 64, 64)
    for i, label in enumerate(labels):
        images[i, label, 8 : 40 + i % 5, 8:40] = 2
    net = FlowerNet(3, width=8)
    optimizer = torch.optim.Adam(net.parameters(), 5e-3)
    for _ in range(25):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images), labels).backward()
        optimizer.step()
    assert (net(images).argmax(dim=1) == labels).all()
