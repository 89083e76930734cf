"""The networks of the μ-Lasso paper: the layers that it counts, and their sizes."""

import pytest
import torch

from experiments.oramas2019.networks import DigitCNN, FlowerCNN
from vitrine.filters.layers import response_layers


def test_the_digits_network_has_the_papers_layers() -> None:
    network = DigitCNN().eval()
    assert network(torch.rand(2, 1, 28, 28)).shape == (2, 10)
    layers = response_layers(network, 28, "all_with_activations")
    assert [(layer.name, layer.width) for layer in layers] == [
        ("conv1", 20), ("pool1", 20), ("conv2", 50), ("pool2", 50), ("conv3", 500), ("relu3", 500),
    ]  # fmt: skip
    parameters = 20 * 26 + 50 * (20 * 25 + 1) + 500 * (50 * 16 + 1) + 10 * 501
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


@pytest.mark.parametrize("size", [32, 80])
def test_the_flowers_network_takes_images_of_its_size(size: int) -> None:
    network = FlowerCNN(12, size).eval()
    assert network(torch.rand(2, 3, size, size)).shape == (2, 12)
    assert network.features(torch.rand(1, 3, size, size)).shape == (1, 32, size // 16, size // 16)
    kinds = [layer.kind for layer in response_layers(network, size)]
    assert (kinds.count("conv"), kinds.count("pool"), kinds.count("linear")) == (5, 3, 1)
