"""Frozen convolutions: a convolution with its activation, whose backward pass gives the gradient of the images alone."""

from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from typing_extensions import override

ACTIVATIONS: dict[type[nn.Module], tuple[float, float]] = {nn.ReLU: (0.0, torch.inf), nn.ReLU6: (0.0, 6.0)}
"""What a convolution can end in, by its bounds."""


class Geometry(NamedTuple):
    """What a convolution is besides its weights."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    bounds: tuple[float, float] | None
    """Of the activation after it."""


def reach(kernel: torch.Size, shape: Geometry) -> tuple[int, ...]:
    """Padding of the convolution that is the backward pass of one of stride 1."""
    return tuple(d * (k - 1) - p for d, k, p in zip(shape.dilation, kernel, shape.padding, strict=True))


class Weights(NamedTuple):
    """Of one type, on one device."""

    forward: Tensor
    back: Tensor | None
    """Those of the convolution that is the backward pass; None where there is none, as with strides."""
    bias: Tensor | None


def turned(weight: Tensor, groups: int) -> Tensor:
    """(n, m / groups, …) weights of the backward pass of a convolution of stride 1, from its (m, n / groups, …) weights."""
    out, per_group = weight.shape[:2]
    grouped = weight.view(groups, out // groups, per_group, *weight.shape[2:]).transpose(1, 2)
    return grouped.reshape(groups * per_group, out // groups, *weight.shape[2:]).flip(2, 3)


def convolve(images: Tensor, weight: Tensor, bias: Tensor | None, shape: Geometry) -> Tensor:
    """A convolution without its activation; by oneDNN where it has the type, also where torch prefers another."""
    if images.device.type == "cpu" and _has_onednn(images.dtype):
        geometry = (shape.padding, shape.stride, shape.dilation, shape.groups)
        outputs: Tensor = torch.ops.aten.mkldnn_convolution(images, weight, bias, *geometry)
        return outputs
    return F.conv2d(images, weight, bias, shape.stride, shape.padding, shape.dilation, shape.groups)


def _has_onednn(kind: torch.dtype) -> bool:
    return bool(torch.backends.mkldnn.enabled) and kind in _types_of_onednn()


@cache
def _types_of_onednn() -> set[torch.dtype]:
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return set()
    has_half = torch.cpu._is_avx512_supported()  # noqa: SLF001 - no public name
    return {torch.float32, torch.bfloat16} if has_half else {torch.float32}


def activate_(outputs: Tensor, bounds: tuple[float, float] | None) -> Tensor:
    """The activation, in place."""
    if bounds is None:
        return outputs
    return outputs.relu_() if bounds[1] == torch.inf else outputs.clamp_(*bounds)


def through_activation(gradient: Tensor, outputs: Tensor, bounds: tuple[float, float]) -> Tensor:
    """The gradient before the activation, from what the activation gave: 0 at its bounds, as torch has it."""
    found: Tensor
    if bounds[1] == torch.inf:
        found = torch.ops.aten.threshold_backward(gradient, outputs, bounds[0])
    else:
        found = torch.ops.aten.hardtanh_backward(gradient, outputs, *bounds)
    return found


class _Frozen(torch.autograd.Function):
    """Convolution and activation; saves what the activation gave, and the images only where `_back` needs them."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weights: Weights, shape: Geometry) -> Tensor:
        outputs = activate_(convolve(images, weights.forward, weights.bias, shape), shape.bounds)
        ctx.images = images.detach() if weights.back is None else None
        ctx.weights, ctx.shape = weights, shape
        ctx.save_for_backward(*(() if shape.bounds is None else (outputs,)))
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        shape: Geometry = ctx.shape
        if shape.bounds is not None:
            (outputs,) = ctx.saved_tensors
            gradient = through_activation(gradient, outputs, shape.bounds)
        return _back(gradient, ctx.images, ctx.weights, shape), None, None


def _back(gradient: Tensor, images: Tensor, weights: Weights, shape: Geometry) -> Tensor:
    """The gradient of the images, which are not read where there are turned weights."""
    if weights.back is not None:
        padding = reach(weights.forward.shape[2:], shape)
        return convolve(gradient, weights.back, None, shape._replace(padding=padding))
    kind = gradient.dtype
    if kind == torch.bfloat16 and shape.groups > 1 and gradient.device.type == "cpu":
        # oneDNN's backward pass of depthwise convolutions with strides takes ten times as long as in float32.
        gradient, images, weight = (t.float() for t in (gradient, images, weights.forward))
    else:
        weight = weights.forward
    geometry = (list(shape.stride), list(shape.padding), list(shape.dilation), False, [0, 0], shape.groups)
    found = torch.ops.aten.convolution_backward(gradient, images, weight, None, *geometry, [True, False, False])
    result: Tensor = found[0]
    return result.to(kind)


class FrozenConv(nn.Module):
    """A convolution whose weights are constants, and the activation after it.

    Its weights are laid out once for each type, the activation works in place on what the convolution gave, and nothing is
    computed for the weights in a backward pass. Gradients of gradients are refused by torch.

    Args:
        conv: with padding of zeros.
        activation: one of `ACTIVATIONS`; None for none.
    """

    def __init__(self, conv: nn.Conv2d, activation: nn.Module | None = None) -> None:
        super().__init__()
        bounds = None if activation is None else ACTIVATIONS[type(activation)]
        self.shape = Geometry(conv.stride, tuple(map(int, conv.padding)), conv.dilation, conv.groups, bounds)
        self.weight, self.bias = conv.weight.detach(), None if conv.bias is None else conv.bias.detach()
        self._prepared: dict[torch.dtype, Weights] = {}
        self.eval()

    @override
    def forward(self, images: Tensor) -> Tensor:
        device = images.device.type
        if torch.is_autocast_enabled(device) and images.dtype != torch.float64:
            images = images.to(torch.get_autocast_dtype(device))
        with torch.autocast(device, enabled=False):
            outputs: Tensor = _Frozen.apply(images, self.weights(images.dtype), self.shape)
        return outputs

    def weights(self, kind: torch.dtype) -> Weights:
        """Those of a type, in channels-last layout."""
        if kind not in self._prepared:
            last = torch.channels_last
            shape = self.shape
            with torch.no_grad():
                weight = self.weight.to(kind).contiguous(memory_format=last)
                is_conv = set(shape.stride) == {1} and min(reach(weight.shape[2:], shape)) >= 0
                back = turned(self.weight, shape.groups).to(kind).contiguous(memory_format=last) if is_conv else None
            self._prepared[kind] = Weights(weight, back, None if self.bias is None else self.bias.to(kind))
        return self._prepared[kind]


def can_be_frozen(conv: nn.Conv2d) -> bool:
    """Whether `FrozenConv` does what a convolution does."""
    return type(conv) is nn.Conv2d and conv.padding_mode == "zeros" and not isinstance(conv.padding, str)
