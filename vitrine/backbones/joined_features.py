"""Features of several layers from one forward pass of the backbone, joined into one vector an image."""

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from vitrine.backbones.features import TappedFeatures
from vitrine.core.batch import Features


class JoinedFeatures(nn.Module):
    """Z of several layers, one behind the other, of one network that runs once.

    Args:
        parts: of one backbone; those that read the same layer in the same way stand once.
        widths: D of each.

    Example:
        >>> from vitrine.backbones import FrozenBackbone
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
        >>> parts = [TappedFeatures(FrozenBackbone(model), layer) for layer in ("0", "1")]
        >>> joined = JoinedFeatures(parts, [4, 4])
        >>> features = joined(torch.rand(5, 3, 8, 8))["features"]
        >>> features.shape, joined.split(features)[1].shape
        (torch.Size([5, 8]), torch.Size([5, 4]))
    """

    def __init__(self, parts: Sequence[TappedFeatures], widths: Sequence[int]) -> None:
        super().__init__()
        known: dict[str, tuple[TappedFeatures, int]] = {}
        for part, width in zip(parts, widths, strict=True):
            known.setdefault(part.key, (part, width))
        self.parts = nn.ModuleList(part for part, _ in known.values())
        self.widths = [width for _, width in known.values()]
        self._places = [list(known).index(part.key) for part in parts]

    @property
    def key(self) -> str:
        """Text that differs whenever the features could; of one layer, that layer's own."""
        keys = [part.key for part in self._tapped]
        return keys[0] if len(keys) == 1 else json.dumps(keys)

    @property
    def belongs_to(self) -> dict[str, str]:
        """Network, weights and layers as people know them, as text by name."""
        known = [part.belongs_to for part in self._tapped]
        return {**known[0], "layer": ", ".join(one["layer"] for one in known)}

    def many_passes(self) -> AbstractContextManager[None]:
        """That of the one network."""
        return self._tapped[0].many_passes()

    def forward(self, images: Tensor) -> Features:
        """(B, ΣD) features and (B, C) logits of (B, 3, H, W) images, in one pass."""
        first = self._tapped[0]
        output = first.backbone(images, taps=list(dict.fromkeys(part.layer for part in self._tapped)))
        found = [part.read(output, images)["features"] for part in self._tapped]
        return Features(features=torch.cat(found, dim=1), logits=output.logits)

    def split(self, features: Tensor) -> list[Tensor]:
        """(B, D) of each part that was given, from (B, ΣD)."""
        found = torch.split(features, self.widths, dim=1)
        return [found[place] for place in self._places]

    @property
    def _tapped(self) -> list[TappedFeatures]:
        return [part for part in self.parts if isinstance(part, TappedFeatures)]
