"""Rules for padding, interpolation and pixel shuffling."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrine.attribution.receptive_field.operators import Demand, Operator, Rule
from vitrine.attribution.receptive_field.region import Region, Span, span_of, whole
from vitrine.attribution.receptive_field.window_rules import Axis, Window, along_last, over_last


def constant_padding(operator: Operator) -> Rule:
    """Shifts indices by the padding before them."""
    return _padded(operator, operator.arguments["pad"], None)


def reflection_padding(operator: Operator) -> Rule:
    """Reflects indices at the borders."""
    return _padded(operator, operator.arguments["padding"], _reflected)


def replication_padding(operator: Operator) -> Rule:
    """Repeats the border's index."""
    return _padded(operator, operator.arguments["padding"], _replicated)


def _reflected(index: int, size: int) -> int:
    return size - 1 - abs(size - 1 - abs(index))


def _replicated(index: int, size: int) -> int:
    return min(max(index, 0), size - 1)


def _padded(operator: Operator, padding: Sequence[int], source: Callable[[int, int], int] | None) -> Rule:
    def axis(size: int, before: int) -> Axis:
        def to_operand(span: Span, clip: bool) -> Span:
            low, high = span.low - before, span.high - before
            if source is not None and clip and (low < 0 or high > size):
                indices = [source(index, size) for index in range(low, high)]
                low, high = min(indices), max(indices) + 1
            return Span(size, low, high)

        return to_operand

    before = padding[-2::-2]  # the padding of the last dimension comes first
    sizes = zip(operator.operand[-len(before) :], before, strict=True)
    return over_last(operator, [axis(*pair) for pair in sizes])


def interpolation(mode: str, antialias: bool = False) -> Callable[[Operator], Rule]:
    """Resizes the last two dimensions; the dependence is that of interpolated unit vectors, and of their gradients."""

    def axis(depends: Tensor) -> Axis:
        outputs, size = depends.shape

        def to_operand(span: Span, clip: bool) -> Span:
            if span.is_far:
                return whole(size, clip)[0]
            taps = depends[max(span.low, 0) : min(span.high, outputs)].any(dim=0).nonzero()
            return Span(size, int(taps[0]), int(taps[-1]) + 1)

        return to_operand

    def rule_of(operator: Operator) -> Rule:
        dtype = torch.promote_types(operator.dtype, torch.float32)
        options = {"mode": mode, "antialias": antialias, "align_corners": operator.arguments.get("align_corners")}
        scales = (operator.arguments["scales_h"], operator.arguments["scales_w"])
        sizes = zip(operator.operand[-2:], operator.outputs[0][-2:], scales, strict=True)
        return over_last(operator, [axis(_dependence_matrix(*arguments, options, dtype)) for arguments in sizes])

    return rule_of


def _dependence_matrix(
    size: int, outputs: int, scale: float | None, options: Mapping[str, Any], dtype: torch.dtype
) -> Tensor:
    """(outputs, size) bool: whether an output depends on an index of the operand.

    In the type of the network, as rounding decides whether the weights at the ends of a kernel are 0. The other dimension has
    two columns: with one, torch's antialiased interpolation reads wrong elements. Where the size does not change, its result
    and its gradient use different weights, so both are taken.
    """
    target = {"size": (outputs, 2)} if scale is None else {"scale_factor": (scale, 1.0)}
    with torch.enable_grad():
        leaf = torch.zeros(1, outputs, size, 2, dtype=dtype, requires_grad=True)
        resized = F.interpolate(leaf, **options, **target)
        starts = torch.eye(outputs, dtype=dtype)[None, :, :, None].repeat(1, 1, 1, 2)
        (gradient,) = torch.autograd.grad(resized, leaf, starts)
    units = torch.eye(size, dtype=dtype)[None, :, :, None].repeat(1, 1, 1, 2)
    values = F.interpolate(units, **options, **target)
    return (values[0, :, :, 0].T != 0) | (gradient[0, :, :, 0] != 0)


def pixel_shuffle(operator: Operator) -> Rule:
    """Rearranges r² channels into one of r times the height and width."""
    factor = operator.arguments["upscale_factor"]

    def rule(demand: Demand) -> Sequence[Region | None]:
        *batch, channels, _, _ = demand.region
        span = span_of(channels)
        unshuffled = (Span(operator.operand[-3], span.low * factor**2, span.high * factor**2),)
        locations = [
            (Span(size, range_.low // factor, -(-range_.high // factor)),)
            for size, range_ in zip(operator.operand[-2:], map(span_of, demand.region[-2:]), strict=True)
        ]
        return operator.first_only((*batch, unshuffled, *locations))

    return rule


def pixel_unshuffle(operator: Operator) -> Rule:
    """Rearranges one channel into r² of 1/r of the height and width."""
    factor = operator.arguments["downscale_factor"]
    axes = [Window(size, factor, factor, 0, 1) for size in operator.operand[-2:]]

    def rule(demand: Demand) -> Sequence[Region | None]:
        *batch, channels, _, _ = demand.region
        span = span_of(channels)
        shuffled = (Span(operator.operand[-3], span.low // factor**2, -(-span.high // factor**2)),)
        locations = along_last(axes, demand)
        return operator.first_only(None if locations is None else (*batch, shuffled, *locations))

    return rule


RESAMPLING_RULES: Mapping[str, Callable[[Operator], Rule]] = {
    "ConstantPadNd": constant_padding,
    **dict.fromkeys(("ReflectionPad1D", "ReflectionPad2D", "ReflectionPad3D"), reflection_padding),
    **dict.fromkeys(("ReplicationPad1D", "ReplicationPad2D", "ReplicationPad3D"), replication_padding),
    "UpsampleNearest2D": interpolation("nearest"),
    "UpsampleNearestExact2D": interpolation("nearest-exact"),
    "UpsampleBilinear2D": interpolation("bilinear"),
    "UpsampleBilinear2DAa": interpolation("bilinear", antialias=True),
    "UpsampleBicubic2D": interpolation("bicubic"),
    "UpsampleBicubic2DAa": interpolation("bicubic", antialias=True),
    "PixelShuffle": pixel_shuffle,
    "PixelUnshuffle": pixel_unshuffle,
}
"""For operators with one operand."""
