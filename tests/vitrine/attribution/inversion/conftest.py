"""A small network, in float64 where results are compared to the last digits."""

import pytest
import torch
from torch import Tensor, nn


class InvertedNet(nn.Module):
    """Two convolutions, a pooling, one more, and logits; ReLUs of which one is in place."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(8, 12, 3, padding=1),
            nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        self.classifier = nn.Linear(12, 5)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        return self.classifier(8 * self.features(images).mean(dim=(2, 3)))


@pytest.fixture
def inverted_net() -> nn.Module:
    """In float64, eval mode and frozen."""
    torch.manual_seed(3)
    return InvertedNet().double().eval().requires_grad_(requires_grad=False)


@pytest.fixture
def inverted_images() -> Tensor:
    """(3, 3, 32, 32) float64."""
    return torch.randn(3, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
