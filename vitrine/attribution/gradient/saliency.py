"""The gradient of a class at the pixels (Simonyan, Vedaldi, Zisserman: Deep Inside Convolutional Networks, 2014)."""

import torch
from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.autograd.backward import one_hot, send_back
from vitrine.attribution.base import Method, Unit


class Saliency(Method):
    """|∂f/∂x|, the absolute gradient of the explained unit at the pixels: (B, C, H, W).

    Of a channel with places, f is its sum over them.

    Args:
        model: as in `Method`.
        layer: as in `Method`.
        absolute: whether to give the absolute value; without it the gradient itself.
        internal_batch_size: as in `Method`.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module | None = None,
        absolute: bool = True,
        *,
        internal_batch_size: int | None = None,
    ) -> None:
        super().__init__(model, layer, internal_batch_size=internal_batch_size)
        self.absolute = absolute

    @override
    def maps(self, inputs: Tensor, unit: Unit) -> Tensor:
        maps = gradients(self, inputs, unit)
        return maps.abs_() if self.absolute else maps


def gradients(method: Method, inputs: Tensor, unit: Unit) -> Tensor:
    """The gradients of K units at the pixels, by one forward pass and K backward passes: (B, K, C, H, W)."""
    # Captum's Saliency, to which this is equal bit by bit, makes a forward pass for each of the units.
    with torch.enable_grad():
        pixels = inputs.detach().requires_grad_()
        output = method.explained_output(pixels.clone(), unit)  # a leaf may not be changed in place
        units = unit.of(output)
    maps = pixels.new_zeros(*units.shape, *pixels.shape[1:])
    starts = (one_hot(output.detach(), column) for column in units.unbind(dim=1))
    for k, arrived in enumerate(send_back(output, pixels, starts)):
        maps[:, k] = arrived
    return maps
