"""What an explainer's head reads: the vector Z of one layer of the backbone."""

import json
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from vitrine.backbones.classifier_layer import input_channels
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.core.batch import Features

Pooling = Literal["average", "flatten", "positions", "none"]


class FeatureSizes(NamedTuple):
    """What a layer gives."""

    width: int
    """D, length of an image's features."""
    classes: int
    """C, number of logits."""
    positions: int
    """P, vectors Z that stand in them one after the other; 1 unless positions are kept apart."""


class TappedFeatures(nn.Module):
    """Z(x; W): a layer's output as one vector an image (section 2.1 of Qi et al.).

    Args:
        backbone: the frozen classifier.
        layer: dotted name of the tapped layer.
        pooling: ``"average"`` over space, ``"flatten"``, ``"positions"`` to keep a vector Z for each position, one after the
            other in row order, or ``"none"`` for a layer that gives vectors.

    Raises:
        ValueError: for an unknown pooling or layer.
    """

    def __init__(self, backbone: FrozenBackbone, layer: str, pooling: str = "average") -> None:
        super().__init__()
        if pooling not in get_args(Pooling):
            raise ValueError(f"pooling {pooling!r} is unknown; choose one of {', '.join(get_args(Pooling))}.")
        self.backbone = backbone
        self.layer = layer
        self.pooling = pooling

    @property
    def key(self) -> str:
        """Text that differs whenever the features could."""
        return json.dumps({**self.backbone.identity, "layer": self.layer, "pooling": self.pooling}, sort_keys=True)

    @property
    def belongs_to(self) -> dict[str, str]:
        """Network, weights and layer as people know them, as text by name."""
        return {**self.backbone.belongs_to, "layer": f"{self.layer} ({self.pooling})"}

    def forward(self, images: Tensor) -> Features:
        """Features and logits of (B, 3, H, W) images, in one pass."""
        output = self.backbone(images, taps=[self.layer])
        return Features(features=self._pool(output.taps[self.layer]), logits=output.logits)

    def sizes(self, image_size: int) -> FeatureSizes:
        """Found by one pass over a blank image of image_size × image_size pixels."""
        device = next((parameter.device for parameter in self.backbone.model.parameters()), torch.device("cpu"))
        if image_size < 1:
            raise ValueError(f"image_size is {image_size}; give the side of the backbone's input in pixels, 1 or more.")
        blank = torch.zeros(1, input_channels(self.backbone.model), image_size, image_size, device=device)
        try:
            with torch.no_grad():
                output = self.backbone(blank, taps=[self.layer])
        except RuntimeError as error:
            raise ValueError(f"The backbone takes no images of image_size {image_size} pixels: {error}.") from error
        activation = output.taps[self.layer]
        positions = activation[0, 0].numel() if self.pooling == "positions" else 1
        return FeatureSizes(self._pool(activation).shape[1], output.logits.shape[1], positions)

    def _pool(self, activation: Tensor) -> Tensor:
        if self.pooling == "average" and activation.ndim == 4:
            return activation.mean(dim=(2, 3))
        if self.pooling == "positions" and activation.ndim == 4:
            return activation.flatten(2).transpose(1, 2).flatten(1)
        if self.pooling == "flatten":
            return activation.flatten(1)
        if activation.ndim == 2:
            return activation
        raise ValueError(
            f"Layer {self.layer!r} gives {activation.ndim - 1}-dimensional activations, which pooling {self.pooling!r}"
            f" does not turn into vectors; choose another of {', '.join(get_args(Pooling))}."
        )
