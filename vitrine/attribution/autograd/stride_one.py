"""Backward passes of strided convolutions and poolings with stride 1, which leave no grid in a heatmap.

Section 3.3 of Oramas, Wang and Tuytelaars: Visual Explanation by Interpretation, ICLR 2019.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrine.attribution.autograd.calls import Call, carries
from vitrine.attribution.autograd.interception import Rule, with_backward
from vitrine.core.options import checked

Pooling = Literal["switches", "resampled"]

TRANSPOSED: dict[int, Callable[..., Tensor]] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
STRIDED_POOLINGS: dict[str, Callable[..., Tensor]] = {
    "max_pool1d": F.max_pool1d,
    "max_pool2d": F.max_pool2d,
    "max_pool3d": F.max_pool3d,
    "avg_pool1d": F.avg_pool1d,
    "avg_pool2d": F.avg_pool2d,
    "avg_pool3d": F.avg_pool3d,
}


@checked
def stride_one_rules(pooling: Pooling) -> dict[str, Rule]:
    """Rules of strided convolutions, and of strided poolings if they are ``resampled``.

    Args:
        pooling: ``switches`` leaves poolings their gradient, as the authors do; ``resampled`` goes back with stride 1.

    Raises:
        OptionError: for another ``pooling``.
    """
    rules: dict[str, Rule] = dict.fromkeys(("conv1d", "conv2d", "conv3d"), _convolution)
    return rules | (dict.fromkeys(STRIDED_POOLINGS, _pooling) if pooling == "resampled" else {})


def resample(signal: Tensor, size: Sequence[int]) -> Tensor:
    """A (B, C, …) signal resampled to another size by nearest neighbour; itself if it has that size."""
    return signal if signal.shape[2:] == tuple(size) else F.interpolate(signal, size=tuple(size), mode="nearest")


def _convolution(call: Call) -> Any:
    """A rule: goes back with S = 1 over the signal at size A + 2·O − M + 1 (equation 3), M the size of the dilated kernel."""
    x, weight = call.argument(0, "input"), call.argument(1, "weight")
    dims = weight.ndim - 2
    stride, dilation = (_each(call.argument(i, name, 1), dims) for i, name in ((3, "stride"), (5, "dilation")))
    if not carries(x) or carries(weight) or x.ndim != weight.ndim or max(stride) == 1:
        return NotImplemented
    padding = call.argument(4, "padding", 0)
    padding = _each(0 if padding == "valid" else padding, dims)  # "same" needs S = 1, and never comes here
    groups, weight = call.argument(6, "groups", 1), weight.detach()
    kernel = [d * (m - 1) + 1 for d, m in zip(dilation, weight.shape[2:], strict=True)]
    size = [a + 2 * o - m + 1 for a, o, m in zip(x.shape[2:], padding, kernel, strict=True)]

    def backward(signal: Tensor) -> tuple[Tensor]:
        options = {"padding": padding, "groups": groups, "dilation": dilation}
        return (TRANSPOSED[dims](resample(signal, size), weight, **options),)

    return with_backward(call, backward, x)


def _pooling(call: Call) -> Any:
    """A rule: goes back through the same pooling with S = 1, over the signal at the size of its output."""
    x, name = call.operand, call.name
    dims = int(name[-2])
    size = call.argument(1, "kernel_size")
    stride = call.argument(2, "stride")
    if not carries(x) or x.ndim != dims + 2 or max(_each(stride or size, dims)) == 1:
        return NotImplemented
    options = _pooling_options(call)
    pool, activation = STRIDED_POOLINGS[name], x.detach().clone()

    def backward(signal: Tensor) -> tuple[Tensor]:
        with torch.enable_grad():
            leaf = activation.requires_grad_()
            pooled = pool(leaf, size, stride=1, **options)
        (vjp,) = torch.autograd.grad(pooled, leaf, resample(signal, pooled.shape[2:]))
        return (vjp,)

    return with_backward(call, backward, x)


def _pooling_options(call: Call) -> dict[str, Any]:
    """Arguments other than kernel and stride; ``ceil_mode`` changes nothing with S = 1."""
    if call.name.startswith("max"):
        return {"padding": call.argument(3, "padding", 0), "dilation": call.argument(4, "dilation", 1)}
    return {
        "padding": call.argument(3, "padding", 0),
        "count_include_pad": call.argument(5, "count_include_pad", default=True),
    }


def _each(value: int | Sequence[int], dims: int) -> list[int]:
    """One number for each dimension."""
    values = [value] if isinstance(value, int) else list(value)
    return values * dims if len(values) == 1 else values
