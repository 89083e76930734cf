"""Small networks and explainers that are exported."""

from typing import Any

import torch
from torch import Tensor, nn

import vitrine
from vitrine.backbones import FrozenBackbone
from vitrine.explainers import Explainer, SRAEExplainer, SRAEOptions

SIDE = 16
IMAGES = torch.randn(5, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
TARGETS = torch.tensor([0, 3, 1, 2, 2])


def built(before_classifier: nn.Module | None = None) -> FrozenBackbone:
    """A network of 4 classes that ends in average pooling and one linear layer, unless something else is to stand there."""
    torch.manual_seed(0)
    layers = (
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, 2, 1),
        nn.ReLU(inplace=True),
    )
    model = nn.Sequential(*layers, before_classifier or nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(4)).eval()
    model(torch.rand(1, 3, SIDE, SIDE))
    return FrozenBackbone(model)


def by_method(method: str, **arguments: Any) -> Explainer:
    """An attribution method on that network."""
    return vitrine.explainer(built(), method, size=SIDE, device="cpu", classes=["a", "b", "c", "d"], **arguments)


def srae(trunk: Any = "separate") -> SRAEExplainer:
    """SRAE heads of two of its classes."""
    options = SRAEOptions(layer="4", image_size=SIDE, explained_classes=[1, 3], trunk=trunk, hidden=[12])
    return SRAEExplainer(built(), options)


class LogitMaps(nn.Module):
    """Maps of logits in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """The logits under ``out``."""
        return {"out": self.conv(images), "aux": images}
