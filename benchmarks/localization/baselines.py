"""What a method has to beat: boxes that look neither at the network nor at the image."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import box_iou
from typing_extensions import override

from vitrine.attribution import Method
from vitrine.attribution.targets import Target

WHOLE_IMAGE = "WholeImage"


def whole_image_ious(boxes: Sequence[Tensor], size: int) -> Tensor:
    """(N,) float64: the highest IoU of the whole image with any of its boxes, (k, 4) on an input of that side."""
    whole = torch.tensor([[0, 0, size, size]], dtype=torch.float64)
    return torch.stack([box_iou(whole, own.double()).amax() for own in boxes])


class GaussianCentre(Method):
    """exp(−d² / 2σ²), where d is the distance to the centre of the input, and σ a quarter of its side.

    What is on is a disc, as with `Center`, but shrinks by smaller steps as α grows.

    Args:
        model: nothing of it is used.
        layer: as in `Center`.
    """

    def __init__(self, model: nn.Module, layer: str | nn.Module | None = None) -> None:
        super().__init__(model, layer)

    @override
    def maps(self, inputs: Tensor, target: Target) -> Tensor:
        down, across = (_bell(side, inputs) for side in inputs.shape[-2:])
        return (down[:, None] * across).expand(len(inputs), 1, 1, -1, -1).clone()


def _bell(side: int, like: Tensor) -> Tensor:
    places = torch.arange(side, dtype=like.dtype, device=like.device) - (side - 1) / 2
    return (-0.5 * (places / (side / 4)) ** 2).exp()
