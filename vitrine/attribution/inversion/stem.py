"""Stem of a network under masks: its first convolution of Φ and Φ_bg at once, by linearity, with gradient to the mask."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from typing_extensions import override

from vitrine.attribution.inversion.frozen_conv import (
    FrozenConv,
    Geometry,
    activate_,
    convolve,
    through_activation,
)

_GIVEN: ContextVar[Tensor | None] = ContextVar("given", default=None)


class Terms(NamedTuple):
    """What the first convolution of Φ = p + m ∘ d and Φ_bg = x − m ∘ d is made of, where d = x − p."""

    difference: Tensor
    """(R, C, H, W) d."""
    background: Tensor
    """(R, n, h, w): the convolution of p."""
    image: Tensor
    """(R, n, h, w): that of x."""

    def rows(self, selection: Tensor | slice) -> "Terms":
        """Those of some rows."""
        return Terms(*(one[selection] for one in self))


class First(NamedTuple):
    """What a stem gave of masks, which a network may change in place, and the masks."""

    outputs: Tensor
    masks: Tensor


class Stem(nn.Module):
    """The first convolution, which gives what it is told to within `given`, as no image is needed then.

    Args:
        conv: that alone takes the images, without groups.
    """

    def __init__(self, conv: FrozenConv) -> None:
        super().__init__()
        self.conv = conv
        self._phases: dict[torch.dtype, Tensor] = {}
        self.eval()

    @override
    def forward(self, images: Tensor) -> Tensor:
        outputs = _GIVEN.get()
        if outputs is None:
            outputs = self.conv(images)
        return outputs

    def terms(self, images: Tensor, background: Tensor) -> Terms:
        """Of (R, C, H, W) x and p, in the type that the convolution runs in."""
        kind = self.kind(images)
        x, p = images.to(kind), background.to(kind)
        weights, shape = self.conv.weights(kind), self.conv.shape
        of_both = (convolve(one, weights.forward, weights.bias, shape) for one in (p, x))
        return Terms((images - background).to(kind), *of_both)

    @staticmethod
    def kind(images: Tensor) -> torch.dtype:
        """That of autocast, if it is on."""
        device = images.device.type
        is_cast = torch.is_autocast_enabled(device) and images.dtype != torch.float64
        return torch.get_autocast_dtype(device) if is_cast else images.dtype

    def masked(self, masks: Tensor, terms: Terms, *, both: bool) -> Tensor:
        """(R, n, h, w) of Φ from (R, 1, H, W) masks; with ``both``, (2 R, n, h, w) of Φ and then of Φ_bg."""
        with torch.autocast(masks.device.type, enabled=False):
            outputs: Tensor = _Masked.apply(masks, terms, self, both)
        return outputs

    def phases(self, kind: torch.dtype) -> Tensor:
        """(s² C, n, j, j) weights of the backward pass, see `phases_of`."""
        if kind not in self._phases:
            stride = self.conv.shape.stride
            weight = phases_of(self.conv.weight, stride[0])
            self._phases[kind] = weight.to(kind).contiguous(memory_format=torch.channels_last)
        return self._phases[kind]

    def gradient(self, gradient: Tensor, size: torch.Size) -> Tensor:
        """(R, C, H, W) gradient of the images from (R, n, h, w)."""
        stride, padding = self.conv.shape.stride[0], self.conv.shape.padding
        weight = self.phases(gradient.dtype)
        reach = weight.shape[-1] - 1
        cells = convolve(gradient, weight, None, Geometry((1, 1), (reach, reach), (1, 1), 1, None))
        large = F.pixel_shuffle(cells, stride)[:, :, padding[0] :, padding[1] :]
        missing = [max(wanted - there, 0) for wanted, there in zip(size, large.shape[2:], strict=True)]
        return F.pad(large, (0, missing[1], 0, missing[0]))[:, :, : size[0], : size[1]]


def can_be_stem(conv: nn.Module) -> bool:
    """Whether a convolution is one that `Stem` can run: square, not dilated, without groups."""
    if not isinstance(conv, nn.Conv2d) or conv.groups > 1 or conv.dilation != (1, 1):
        return False
    return conv.stride[0] == conv.stride[1] and conv.kernel_size[0] == conv.kernel_size[1]


def phases_of(weight: Tensor, stride: int) -> Tensor:
    """The backward pass of a convolution of stride s as one of stride 1, whose output `F.pixel_shuffle` spreads.

    Pixel s q + r of the padded image has the gradient Σⱼ g[q − j] w[s j + r], so that each of the s² phases r is a
    convolution of its own, with ⌈k / s⌉ weights a side. With few input channels, it takes a third of the time.

    Args:
        weight: (n, C, k, k).
        stride: s.

    Returns:
        (C s², n, j, j).
    """
    number, channels, kernel, _ = weight.shape
    taps = -(-kernel // stride)
    wide = F.pad(weight, (0, taps * stride - kernel) * 2)
    split = wide.reshape(number, channels, taps, stride, taps, stride).flip(2, 4)
    return split.permute(1, 3, 5, 0, 2, 4).reshape(channels * stride**2, number, taps, taps)


class _Masked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, masks: Tensor, terms: Terms, stem: Stem, both: bool) -> Tensor:
        shape, difference = stem.conv.shape, terms.difference
        shown = convolve(
            masks.to(difference.dtype) * difference, stem.conv.weights(difference.dtype).forward, None, shape
        )
        outputs = _both(terms, shown) if both else terms.background + shown
        outputs = activate_(outputs, shape.bounds)
        ctx.stem, ctx.both, ctx.difference, ctx.kind = stem, both, difference, masks.dtype
        ctx.save_for_backward(*(() if shape.bounds is None else (outputs,)))
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        bounds = ctx.stem.conv.shape.bounds
        if bounds is not None:
            (outputs,) = ctx.saved_tensors
            gradient = through_activation(gradient, outputs, bounds)
        if ctx.both:
            of_image, of_rest = gradient.chunk(2)
            gradient = of_image - of_rest
        at_pixels = ctx.stem.gradient(gradient, ctx.difference.shape[2:])
        return (at_pixels * ctx.difference).sum(dim=1, keepdim=True, dtype=ctx.kind), None, None, None


def _both(terms: Terms, shown: Tensor) -> Tensor:
    """(2 R, n, h, w) of Φ and then of Φ_bg, written where they stay."""
    count = len(shown)
    outputs = torch.empty(
        (2 * count, *shown.shape[1:]), dtype=shown.dtype, device=shown.device, memory_format=torch.channels_last
    )
    torch.add(terms.background, shown, out=outputs[:count])
    torch.sub(terms.image, shown, out=outputs[count:])
    return outputs


@contextmanager
def given(outputs: Tensor) -> Iterator[None]:
    """A context in which stems give these outputs."""
    token = _GIVEN.set(outputs)
    try:
        yield
    finally:
        _GIVEN.reset(token)
