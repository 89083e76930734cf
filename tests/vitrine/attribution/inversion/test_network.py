"""What the network of an inversion mask gives: maps, features, logits, and evidence of each channel."""

import torch
from torch import Tensor, nn

from vitrine.attribution.inversion import (
    InversionLayers,
    InversionSettings,
    InvertedNetwork,
)
from vitrine.attribution.inversion.network import channel_evidence


def evened(columns: Tensor) -> Tensor:
    return columns / columns.abs().mean(dim=1, keepdim=True)


def test_evidence_of_a_linear_head(inverted_net: nn.Module, inverted_images: Tensor) -> None:
    """The logit is 8 W·mean(f) + b: its gradient at a cell is 8 W / cells."""
    network = InvertedNetwork(inverted_net, InversionLayers("features", ("features",)), InversionSettings())
    classes = torch.tensor([0, 3, 3])
    reading = network.read(inverted_images, lambda _: classes, evidence=True)
    maps = inverted_net.get_submodule("features")(inverted_images)
    slopes = inverted_net.get_submodule("classifier").weight[classes]  # type: ignore[index]
    mean = maps.mean(dim=(2, 3))
    columns = [mean, maps.amax(dim=(2, 3)), slopes, slopes * mean]
    assert reading.evidence is not None
    torch.testing.assert_close(reading.evidence, torch.stack([evened(column) for column in columns], dim=2))
    plain = network.read(inverted_images, lambda _: classes)
    assert plain.evidence is None
    torch.testing.assert_close(plain.maps.layers, reading.maps.layers)
    torch.testing.assert_close(plain.features, reading.features)
    torch.testing.assert_close(plain.logits, reading.logits)
    tensors = [*reading.maps.layers, reading.features, reading.logits, reading.classes, reading.evidence]
    assert not any(tensor.requires_grad for tensor in tensors)


def test_evidence_of_several_layers_and_of_one_that_no_logit_depends_on(inverted_images: Tensor) -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 2, 3), nn.Linear(4, 2)

        def forward(self, images: Tensor) -> Tensor:
            self.idle(images)
            return self.head(self.used(images).relu_().mean(dim=(2, 3)))

    model = Idle().double().eval().requires_grad_(requires_grad=False)
    network = InvertedNetwork(model, InversionLayers("used", ("used", "idle")), InversionSettings(score="logit"))
    reading = network.read(inverted_images, evidence=True)
    assert reading.evidence is not None
    assert reading.evidence.shape == (3, 6, 4)
    assert bool(reading.evidence[:, :4, 2:].any())
    assert not reading.evidence[:, 4:, 2:].any()
    assert bool(reading.evidence[:, 4:, :2].any())


def test_evidence_of_nothing_is_nothing() -> None:
    dead = torch.zeros(2, 3, 4, 4)
    assert not channel_evidence(dead, dead).any()
