"""The paper's networks: layers, sizes of their outputs, and logits."""

import pytest
import torch
from torch import nn

from experiments.oramas2019.networks import DigitCNN, FlowerCNN


def test_the_network_for_digits_has_the_papers_layers() -> None:
    network = DigitCNN()
    kinds = [type(layer).__name__ for layer in network.children()]
    assert kinds == ["Conv2d", "MaxPool2d", "Conv2d", "MaxPool2d", "Conv2d", "ReLU", "Linear"]
    assert network.conv3(network.pool2(network.conv2(network.pool1(network.conv1(torch.zeros(2, 1, 28, 28)))))).shape == (
        2, 500, 1, 1,
    )  # fmt: skip
    assert network(torch.randn(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize("size", [32, 80])
def test_the_network_for_flowers_has_five_convolutions(size: int) -> None:
    network = FlowerCNN(num_classes=12, size=size)
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.stride for layer in convolutions] == [(2, 2), (1, 1), (1, 1), (1, 1), (1, 1)]
    assert network(torch.randn(2, 3, size, size)).shape == (2, 12)
