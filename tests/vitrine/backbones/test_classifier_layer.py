"""The two ends of a network: its input channels and its classifier."""

import pytest
from torch import nn

from vitrine.backbones.classifier_layer import classifier_layer, input_channels, replace_classifier


def a_network(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3), nn.Conv2d(4, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )


@pytest.mark.parametrize("channels", [1, 3, 6])
def test_the_first_convolution_tells_the_channels(channels: int) -> None:
    assert input_channels(a_network(channels)) == channels


def test_without_a_convolution_images_have_three_channels() -> None:
    assert input_channels(nn.Sequential(nn.Flatten(), nn.Linear(48, 2))) == 3


def test_the_last_layer_is_the_classifier_and_is_replaced() -> None:
    network = a_network(3)
    assert classifier_layer(network) == "4"
    kept = network[4]
    replace_classifier(network, 2)
    assert network[4] is kept
    replace_classifier(network, 5)
    assert network[4].out_features == 5


def test_a_convolution_at_the_end_is_replaced() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1), nn.AdaptiveAvgPool2d(1))
    replace_classifier(network, 7)
    assert network[1].out_channels == 7


def test_a_network_without_such_layers_is_named() -> None:
    with pytest.raises(ValueError, match="Sequential has no linear or convolutional layer"):
        classifier_layer(nn.Sequential(nn.Flatten()))
