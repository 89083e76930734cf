"""Explainers on the small network."""

from typing import Any

import pytest
import torch
from torch import nn

from tests.helpers.srae_explainers import EXPLAINED, Make
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.explainers import SRAEExplainer
from vitrine.explainers.srae.explainer import SRAEOptions


@pytest.fixture
def make(network: nn.Module) -> Make:
    """Makes explainers on the small network, all with the same weights."""

    def made(**options: Any) -> SRAEExplainer:
        torch.manual_seed(1)
        settings: dict[str, Any] = {"num_features": 3, "hidden": (7, 5), "image_size": 8, **options}
        options_ = SRAEOptions("features", explained_classes=EXPLAINED, **settings)
        return SRAEExplainer(FrozenBackbone(network), options_, ["ant", "bee", "cat"])

    return made
