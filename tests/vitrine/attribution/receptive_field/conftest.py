"""Receptive fields by gradients."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vitrine.backbones.taps import captured

Box = tuple[int, int, int, int]
SeenBoxes = Callable[..., list[Box]]


class SummingForMaxPooling(TorchFunctionMode):
    """Within it, max pooling adds up its window: all of its entries get a gradient, not the greatest alone."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") == "max_pool2d":
            return summed_windows(*args, **kwargs)
        return func(*args, **kwargs)


def summed_windows(
    input: Tensor,  # noqa: A002
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    pooled = F.max_pool2d(input, kernel_size, stride, padding, dilation, ceil_mode)
    (kh, kw), (sh, sw), (ph, pw), (dh, dw) = (
        value if isinstance(value, tuple) else (value, value)
        for value in (kernel_size, stride or kernel_size, padding, dilation)
    )
    ones = torch.ones(input.shape[1], 1, kh, kw, dtype=input.dtype)
    wide = F.pad(input, (pw, pw + sw, ph, ph + sh))
    summed = F.conv2d(wide, ones, stride=(sh, sw), dilation=(dh, dw), groups=input.shape[1])
    return summed[:, :, : pooled.shape[2], : pooled.shape[3]] / (kh * kw)


def box_of(seen: Tensor) -> Box:
    """(x0, y0, x1, y1) around the non-zero pixels of a (H, W) tensor."""
    rows, columns = seen.any(dim=1).nonzero(), seen.any(dim=0).nonzero()
    if not len(rows):
        return 0, 0, 0, 0
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


@pytest.fixture(scope="session")
def seen_boxes() -> SeenBoxes:
    """The boxes around the pixels with a gradient of units: (row, column), (row, column, channel) or None each."""

    def boxes(
        model: nn.Module, layer: str, units: Sequence[Any], size: tuple[int, ...], channel_axis: int = 1
    ) -> list[Box]:
        torch.manual_seed(0)
        pixels = (torch.rand(1, *size, dtype=torch.float64) + 0.5).requires_grad_()
        with SummingForMaxPooling(), captured(model, [layer]) as outputs:
            model(pixels.clone())
        output = outputs[layer].movedim(channel_axis, 1)
        found = []
        for unit in units:
            row, column, *channel = unit
            answers = output[:, channel[0] if channel else slice(None), row, column]
            weights = torch.rand_like(answers) + 0.5
            (gradient,) = torch.autograd.grad((answers * weights).sum(), pixels, retain_graph=True, allow_unused=True)
            found.append((0, 0, 0, 0) if gradient is None else box_of((gradient[0] != 0).any(dim=0)))
        return found

    return boxes


def without_cancellation(model: nn.Module) -> nn.Module:
    """In float64 and eval mode; no two ways through it cancel, and none is closed by a ReLU.

    Weights are positive, norms and biases do nothing to signs, so that all activations are positive.
    """
    model = model.double().eval()
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            positive = torch.rand(parameter.shape, generator=generator, dtype=torch.float64) + 0.5
            if parameter.ndim > 1:
                positive /= math.prod(parameter.shape[1:])
            elif name == "bias":
                positive.zero_()
            parameter.data.copy_(positive)
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            module.running_mean.zero_()
    return model


@pytest.fixture(scope="session")
def positive() -> Callable[[nn.Module], nn.Module]:
    return without_cancellation
