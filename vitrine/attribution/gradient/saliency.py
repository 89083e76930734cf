"""Saliency: the gradient at the pixels (Simonyan, Vedaldi, Zisserman: Deep Inside Convolutional Networks, 2014)."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.autograd.backward import arriving_vjps, one_hot
from vitrine.attribution.autograd.gradient_flow import check_gradient, differentiating
from vitrine.attribution.base import Method, SharedPass
from vitrine.attribution.targets import Target
from vitrine.backbones.outputs import OutputChoice
from vitrine.core.options import Count, checked
from vitrine.core.precision import in_full


class Saliency(Method):
    """|∂f/∂x|, the absolute gradient of a logit at the pixels: (B, C, H, W), in float32 or wider.

    For a channel with places, f is its sum over them.

    Args:
        model: as in `Method`.
        layer: as in `Method`.
        absolute: whether to give the absolute value; otherwise the gradient itself.
        internal_batch_size: as in `Method`.
        output: as in `Method`.

    Raises:
        ValueError: as in `Method`; of ``attribute`` also if no gradient leads from the output back to the pixels.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))
        >>> Saliency(model).attribute(torch.rand(2, 3, 8, 8), target=1).shape
        torch.Size([2, 3, 8, 8])
    """

    gradient_like = True
    smoothed_for_pointing = True
    takes_torchscript = True
    paper = "Simonyan et al. 2014"

    @checked
    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module | None = None,
        absolute: bool = True,
        *,
        internal_batch_size: Count | None = None,
        output: OutputChoice | None = None,
    ) -> None:
        super().__init__(model, layer, internal_batch_size=internal_batch_size, output=output)
        self.absolute = absolute

    @override
    def maps(self, inputs: Tensor, target: Target) -> Tensor:
        return self._shown(gradients(self, inputs, target))

    @override
    def reader(self, inputs: Tensor) -> AbstractContextManager[None]:
        return nullcontext()

    @override
    def maps_of_pass(self, shared: SharedPass, seen: None, target: Target) -> Tensor:
        return self._shown(gradients_at(shared.pixels, shared.logits, target, keep=True))

    def _shown(self, maps: Tensor) -> Tensor:
        return maps.abs_() if self.absolute else maps


def gradients(method: Method, inputs: Tensor, target: Target) -> Tensor:
    """The gradients of K targets at the pixels, by one forward pass and K backward passes: (B, K, C, H, W).

    They are in float32 or wider.

    Raises:
        ValueError: if no gradient leads back to the pixels.
    """
    # Captum's Saliency gives the same bit by bit, but makes a forward pass for each of the K targets.
    with differentiating(method.model):
        pixels = inputs.detach().requires_grad_()
        output = method.explained_output(pixels.clone(), target)  # a leaf may not be changed in place

    def check() -> None:
        check_gradient(output, pixels, method.model, layer=target.layer)

    return gradients_at(pixels, output, target, check)


def gradients_at(
    pixels: Tensor, output: Tensor, target: Target, check: Callable[[], None] = lambda: None, *, keep: bool = False
) -> Tensor:
    """(B, K, C, H, W) gradients of K targets of a (B, n, …) output at the pixels, in float32 or wider.

    Args:
        pixels: (B, C, H, W), what the graph of the output begins with.
        output: (B, n, …).
        target: as in `gradients`.
        check: as in `arriving_vjps`.
        keep: whether the graph stays alive.
    """
    indices = target.resolve(output)
    maps = in_full(pixels.detach()[:0]).new_zeros(*indices.shape, *pixels.shape[1:])
    cotangents = (one_hot(output.detach(), column) for column in indices.unbind(dim=1))
    for k, gradient in enumerate(arriving_vjps(output, pixels, cotangents, check, keep=keep)):
        maps[:, k] = gradient
    return maps
