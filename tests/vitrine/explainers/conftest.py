"""A small all-ReLU network with two x-feature heads."""

import pytest
import torch
from torch import Tensor, nn

from vitrine.backbones.frozen import FrozenBackbone
from vitrine.data.preprocessing import Preprocessing
from vitrine.explainers import SRAEExplainer
from vitrine.explainers.srae.explainer import SRAEOptions


class ThreeClassNet(nn.Module):
    """Two convolutions, pooling, three logits; no biases."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.ReLU(), nn.Conv2d(6, 8, 3, padding=1, bias=False), nn.ReLU()
        )
        self.classifier = nn.Linear(8, 3)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        return self.classifier(self.features(images).mean(dim=(2, 3)))


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return ThreeClassNet()


@pytest.fixture
def explainer(network: nn.Module) -> SRAEExplainer:
    torch.manual_seed(1)
    return SRAEExplainer(
        FrozenBackbone(network),
        SRAEOptions("features", explained_classes=[0, 2], num_features=3, hidden=(7, 5), image_size=8),
        ["ant", "bee", "cat"],
    )


@pytest.fixture
def images() -> Tensor:
    return torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def named_explainer() -> SRAEExplainer:
    """On a network that can be built again by its name."""
    torch.manual_seed(0)
    backbone = FrozenBackbone("squeezenet1_1", num_classes=3)
    preprocessing = Preprocessing(size=48, resize=None)
    options = SRAEOptions("features.12", explained_classes=[1, 2], num_features=3, hidden=(8,), image_size=48)
    return SRAEExplainer(backbone, options, ["ant", "bee", "cat"], preprocessing)


@pytest.fixture
def pictures() -> Tensor:
    return torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
