"""The μ-Lasso explainer on a small network."""

from typing import Any

from torch import nn

from vitrine.backbones.frozen import FrozenBackbone
from vitrine.explainers import MuLassoExplainer
from vitrine.explainers.mu_lasso.explainer import MuLassoOptions

FILTERS, CLASSES = 14, 3
"""Of the network: 6 in ``features.0``, 8 in ``features.2``; ``classifier`` is the class layer."""


def make(network: nn.Module, **options: Any) -> MuLassoExplainer:
    return MuLassoExplainer(
        FrozenBackbone(network), MuLassoOptions(**{"image_size": 8, **options}), ["ant", "bee", "cat"]
    )
