"""SRAE explainers on a small network, and comparisons of their maps."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vitrine.attribution import ExcitationBackprop
from vitrine.explainers import SRAEExplainer

EXPLAINED = [0, 2]


TARGETS = [0, 2, 2, 0, 2]


Make = Callable[..., SRAEExplainer]


class Whole(nn.Module):
    """Backbone up to Z, an encoder at each position where these are kept, and its mean over them."""

    def __init__(self, network: nn.Module, encoder: nn.Module, pooling: str) -> None:
        super().__init__()
        self.features = network.get_submodule("features")
        self.encoder = encoder
        self.pooling = pooling

    def forward(self, images: Tensor) -> Tensor:
        """X-features (B, K)."""
        activation = self.features(images)
        if self.pooling == "average":
            return self.encoder(activation.mean(dim=(2, 3)))
        vectors = activation.permute(0, 2, 3, 1)
        return self.encoder(vectors.reshape(-1, vectors.shape[-1])).unflatten(0, (len(images), -1)).mean(dim=1)


def assert_maps_equal_plain_excitation_backprop(
    explainer: SRAEExplainer, images: Tensor, whole_of: Callable[[int], nn.Module], units_of: Callable[[int], list[int]]
) -> None:
    maps = explainer.explain(images, TARGETS).heatmaps
    assert maps.abs().sum(dim=(2, 3)).gt(0).any(dim=1).all()
    for image, target in enumerate(TARGETS):
        row = EXPLAINED.index(target)
        method = ExcitationBackprop(whole_of(row), contrastive=explainer.options.contrastive)
        for k, unit in enumerate(units_of(row)):
            alone = method.attribute(images[image : image + 1], target=unit)[0, 0]
            torch.testing.assert_close(maps[image, k], alone, atol=1e-6, rtol=1e-4)
