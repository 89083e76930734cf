"""Rules for operators that look through windows: convolution, pooling, padding, interpolation."""

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F

from vitrine.filters.receptive_field.region import FAR, Demand, Dimension, Operator, Region, Rule, Span, span_of, whole

Axis = Callable[[Span, bool], Span | None]
"""The range along one axis of the operand that a range of the output needs; the second argument is `Demand.clip`."""


class Window:
    """A kernel that moves along an axis: output o reads the operand at o · stride − padding + k · dilation.

    Args:
        size: of the operand.
        kernel: number of taps k.
        stride: from one output to the next.
        padding: before the first index of the operand.
        dilation: from one tap to the next.
    """

    def __init__(self, size: int, kernel: int, stride: int, padding: int, dilation: int) -> None:
        self.size, self.kernel, self.stride, self.padding, self.dilation = size, kernel, stride, padding, dilation

    def __call__(self, span: Span, clip: bool) -> Span | None:
        """As `Axis`."""
        extent = (self.kernel - 1) * self.dilation
        low = span.low * self.stride - self.padding
        high = (span.high - 1) * self.stride - self.padding + extent + 1
        if clip and (low < 0 or high > self.size):  # at a border the outermost taps need not be the outermost pixels
            taps = [tap for output in range(span.low, span.high) for tap in self._border_taps(output)]
            if not taps:
                return None
            low, high = min(taps), max(taps) + 1
        return Span(self.size, low, high)

    def _border_taps(self, output: int) -> tuple[int, ...]:
        """The first and the last tap of an output that lie within the operand."""
        start = output * self.stride - self.padding
        skipped = max(-(start // self.dilation), 0)
        last = min(self.kernel - 1, (self.size - 1 - start) // self.dilation)
        return () if skipped > last else (start + skipped * self.dilation, start + last * self.dilation)


class TransposedWindow(Window):
    """The same the other way round: operand i adds to the output at i · stride − padding + k · dilation."""

    def __call__(self, span: Span, clip: bool) -> Span | None:
        """As `Axis`."""
        if span.is_far:
            return Span(self.size, -FAR, FAR)
        taps = [
            (output + self.padding - k * self.dilation) // self.stride
            for output in range(span.low, span.high)
            for k in range(self.kernel)
            if (output + self.padding - k * self.dilation) % self.stride == 0
        ]
        if clip:
            taps = [tap for tap in taps if 0 <= tap < self.size]
        return Span(self.size, min(taps), max(taps) + 1) if taps else None


def convolution(operator: Operator) -> Rule:
    """Kernels over places, groups over channels."""
    operand, weight = operator.operand, operator.arguments["weight"]
    kind = TransposedWindow if operator.arguments["transposed"] else Window
    sizes = zip(
        operand[2:],
        weight[2:],
        *(operator.arguments[name] for name in ("stride", "padding", "dilation")),
        strict=True,
    )
    axes = [kind(*arguments) for arguments in sizes]
    groups = operator.arguments["groups"]
    width = operator.outputs[0][1] // groups

    def rule(demand: Demand) -> Sequence[Region | None]:
        batch, channels, *_ = demand.region
        needed = _along(axes, demand)
        grouped = _groups(span_of(channels), width, operand[1], groups)
        return operator.alone(None if needed is None else (batch, grouped, *needed))

    return rule


def _groups(channels: Span, width: int, size: int, groups: int) -> Dimension:
    first, last = max(channels.low, 0) // width, (min(channels.high, width * groups) - 1) // width
    return (Span(size, first * size // groups, (last + 1) * size // groups),)


def _along(axes: Sequence[Axis], demand: Demand) -> Region | None:
    """What is needed along the last dimensions, one axis each."""
    spans = [
        axis(span_of(dimension), demand.clip)
        for axis, dimension in zip(axes, demand.region[len(demand.region) - len(axes) :], strict=True)
    ]
    return None if None in spans else tuple((span,) for span in spans if span is not None)


def _over_last(operator: Operator, axes: Sequence[Axis]) -> Rule:
    """The rule of an operator that looks along its last dimensions and leaves the others."""

    def rule(demand: Demand) -> Sequence[Region | None]:
        needed = _along(axes, demand)
        kept = demand.region[: len(demand.region) - len(axes)]
        return operator.alone(None if needed is None else (*kept, *needed))

    return rule


def pooling(operator: Operator) -> Rule:
    """Maximum or average over windows."""
    kernel = operator.arguments["kernel_size"]
    stride = operator.arguments["stride"] or kernel
    dilation = operator.arguments.get("dilation", (1,) * len(kernel))
    sizes = operator.operand[-len(kernel) :]
    arguments = zip(sizes, kernel, stride, operator.arguments["padding"], dilation, strict=True)
    return _over_last(operator, [Window(*window) for window in arguments])


def adaptive_pooling(places: int) -> Callable[[Operator], Rule]:
    """Output o of m looks at the operand from ⌊o·n/m⌋ to ⌈(o + 1)·n/m⌉, along so many dimensions."""

    def axis(size: int, outputs: int) -> Axis:
        def needed(span: Span, clip: bool) -> Span:
            if outputs == 1:
                return whole(size, clip)[0]
            return Span(size, span.low * size // outputs, -(-span.high * size // outputs))

        return needed

    def compiled(operator: Operator) -> Rule:
        sizes = zip(operator.operand[-places:], operator.outputs[0][-places:], strict=True)
        return _over_last(operator, [axis(*pair) for pair in sizes])

    return compiled


def constant_padding(operator: Operator) -> Rule:
    """Moves the indices by the padding in front."""
    return _padded(operator, operator.arguments["pad"], None)


def reflection_padding(operator: Operator) -> Rule:
    """Beyond a border the indices run back."""
    return _padded(operator, operator.arguments["padding"], _reflected)


def replication_padding(operator: Operator) -> Rule:
    """Beyond a border the last index repeats."""
    return _padded(operator, operator.arguments["padding"], _replicated)


def _reflected(index: int, size: int) -> int:
    return size - 1 - abs(size - 1 - abs(index))


def _replicated(index: int, size: int) -> int:
    return min(max(index, 0), size - 1)


def _padded(operator: Operator, padding: Sequence[int], source: Callable[[int, int], int] | None) -> Rule:
    def axis(size: int, before: int) -> Axis:
        def needed(span: Span, clip: bool) -> Span:
            low, high = span.low - before, span.high - before
            if source is not None and clip and (low < 0 or high > size):
                indices = [source(index, size) for index in range(low, high)]
                low, high = min(indices), max(indices) + 1
            return Span(size, low, high)

        return needed

    befores = padding[-2::-2]  # the padding of the last dimension comes first
    return _over_last(operator, [axis(*pair) for pair in zip(operator.operand[-len(befores) :], befores, strict=True)])


def interpolation(mode: str, antialias: bool = False) -> Callable[[Operator], Rule]:
    """Resizes the two last dimensions; which indices a result is made of is read off the interpolation of unit vectors."""

    def axis(size: int, outputs: int, scale: float | None, align_corners: bool | None) -> Axis:
        made_of = _made_of(size, outputs, scale, mode, align_corners, antialias=antialias)

        def needed(span: Span, clip: bool) -> Span:
            if span.is_far:
                return whole(size, clip)[0]
            taps = made_of[max(span.low, 0) : min(span.high, outputs)].any(dim=0).nonzero()
            return Span(size, int(taps[0]), int(taps[-1]) + 1)

        return needed

    def compiled(operator: Operator) -> Rule:
        align = operator.arguments.get("align_corners")
        scales = (operator.arguments["scales_h"], operator.arguments["scales_w"])
        sizes = zip(operator.operand[-2:], operator.outputs[0][-2:], scales, strict=True)
        return _over_last(operator, [axis(*arguments, align) for arguments in sizes])

    return compiled


def _made_of(
    size: int, outputs: int, scale: float | None, mode: str, align_corners: bool | None, *, antialias: bool
) -> torch.Tensor:
    """(outputs, size): whether a result has a part of an index."""
    wanted = {"size": (outputs, 1)} if scale is None else {"scale_factor": (scale, 1.0)}
    units = torch.eye(size, dtype=torch.float64)[None, :, :, None]
    resized = F.interpolate(units, mode=mode, align_corners=align_corners, antialias=antialias, **wanted)
    return resized[0, :, :, 0].T != 0


def pixel_shuffle(operator: Operator) -> Rule:
    """Every r² channels become one, r times as high and wide."""
    factor = operator.arguments["upscale_factor"]

    def rule(demand: Demand) -> Sequence[Region | None]:
        *batch, channels, _, _ = demand.region
        span = span_of(channels)
        needed = (Span(operator.operand[-3], span.low * factor**2, span.high * factor**2),)
        places = [
            (Span(size, place.low // factor, -(-place.high // factor)),)
            for size, place in zip(operator.operand[-2:], map(span_of, demand.region[-2:]), strict=True)
        ]
        return operator.alone((*batch, needed, *places))

    return rule


def pixel_unshuffle(operator: Operator) -> Rule:
    """Every channel becomes r², an r-th as high and wide."""
    factor = operator.arguments["downscale_factor"]
    axes = [Window(size, factor, factor, 0, 1) for size in operator.operand[-2:]]

    def rule(demand: Demand) -> Sequence[Region | None]:
        *batch, channels, _, _ = demand.region
        span = span_of(channels)
        needed = (Span(operator.operand[-3], span.low // factor**2, -(-span.high // factor**2)),)
        places = _along(axes, demand)
        return operator.alone(None if places is None else (*batch, needed, *places))

    return rule


WINDOW_RULES: Mapping[str, Callable[[Operator], Rule]] = {
    "Convolution": convolution,
    "CudnnConvolution": convolution,
    "MaxPool2DWithIndices": pooling,
    "MaxPool3DWithIndices": pooling,
    "AvgPool2D": pooling,
    "AvgPool3D": pooling,
    "AdaptiveAvgPool2D": adaptive_pooling(2),
    "AdaptiveMaxPool2D": adaptive_pooling(2),
    "AdaptiveAvgPool3D": adaptive_pooling(3),
    "AdaptiveMaxPool3D": adaptive_pooling(3),
    "ConstantPadNd": constant_padding,
    "ReflectionPad1D": reflection_padding,
    "ReflectionPad2D": reflection_padding,
    "ReflectionPad3D": reflection_padding,
    "ReplicationPad1D": replication_padding,
    "ReplicationPad2D": replication_padding,
    "ReplicationPad3D": replication_padding,
    "UpsampleNearest2D": interpolation("nearest"),
    "UpsampleNearestExact2D": interpolation("nearest-exact"),
    "UpsampleBilinear2D": interpolation("bilinear"),
    "UpsampleBilinear2DAa": interpolation("bilinear", antialias=True),
    "UpsampleBicubic2D": interpolation("bicubic"),
    "UpsampleBicubic2DAa": interpolation("bicubic", antialias=True),
    "PixelShuffle": pixel_shuffle,
    "PixelUnshuffle": pixel_unshuffle,
}
"""Of operators with one operand, and weights."""
