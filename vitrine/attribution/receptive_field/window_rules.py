"""Rules for convolution and pooling: windows that slide over locations."""

from collections.abc import Callable, Mapping, Sequence

from vitrine.attribution.receptive_field.operators import Demand, Operator, Rule
from vitrine.attribution.receptive_field.region import FAR, Dimension, Region, Span, span_of, whole

Axis = Callable[[Span, bool], Span | None]
"""Maps a range of the output along one axis to the operand's; the second argument is `Demand.clip`."""


class Window:
    """A kernel that slides along an axis: output o reads the operand at o · stride − padding + k · dilation.

    Args:
        size: of the operand along the axis.
        kernel: number of taps k.
        stride: distance of adjacent outputs.
        padding: before the first index of the operand.
        dilation: distance of adjacent taps.
    """

    def __init__(self, size: int, kernel: int, stride: int, padding: int, dilation: int) -> None:
        self.size, self.kernel, self.stride, self.padding, self.dilation = size, kernel, stride, padding, dilation

    def __call__(self, span: Span, clip: bool) -> Span | None:
        """As `Axis`."""
        extent = (self.kernel - 1) * self.dilation
        low = span.low * self.stride - self.padding
        high = (span.high - 1) * self.stride - self.padding + extent + 1
        if clip and (low < 0 or high > self.size):  # at a border, inner outputs may have the outermost taps
            taps = [tap for output in range(span.low, span.high) for tap in self._border_taps(output)]
            if not taps:
                return None
            low, high = min(taps), max(taps) + 1
        return Span(self.size, low, high)

    def _border_taps(self, output: int) -> tuple[int, ...]:
        """The first and the last tap of an output inside the operand."""
        start = output * self.stride - self.padding
        skipped = max(-(start // self.dilation), 0)
        last = min(self.kernel - 1, (self.size - 1 - start) // self.dilation)
        return () if skipped > last else (start + skipped * self.dilation, start + last * self.dilation)


class TransposedWindow(Window):
    """A transposed kernel: index i of the operand adds to outputs i · stride − padding + k · dilation."""

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
    """Kernels over locations, groups over channels."""
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
        locations = along_last(axes, demand)
        grouped = _groups(span_of(channels), width, operand[1], groups)
        return operator.first_only(None if locations is None else (batch, grouped, *locations))

    return rule


def _groups(channels: Span, width: int, size: int, groups: int) -> Dimension:
    first, last = max(channels.low, 0) // width, (min(channels.high, width * groups) - 1) // width
    return (Span(size, first * size // groups, (last + 1) * size // groups),)


def along_last(axes: Sequence[Axis], demand: Demand) -> Region | None:
    """The operand's region along the last dimensions, one axis each."""
    spans = [
        axis(span_of(dimension), demand.clip)
        for axis, dimension in zip(axes, demand.region[len(demand.region) - len(axes) :], strict=True)
    ]
    return None if None in spans else tuple((span,) for span in spans if span is not None)


def over_last(operator: Operator, axes: Sequence[Axis]) -> Rule:
    """The rule of an operator on its last dimensions that is elementwise in the others."""

    def rule(demand: Demand) -> Sequence[Region | None]:
        trailing = along_last(axes, demand)
        leading = demand.region[: len(demand.region) - len(axes)]
        return operator.first_only(None if trailing is None else (*leading, *trailing))

    return rule


def pooling(operator: Operator) -> Rule:
    """Maximum or average over windows."""
    kernel = operator.arguments["kernel_size"]
    stride = operator.arguments["stride"] or kernel
    dilation = operator.arguments.get("dilation", (1,) * len(kernel))
    sizes = operator.operand[-len(kernel) :]
    arguments = zip(sizes, kernel, stride, operator.arguments["padding"], dilation, strict=True)
    return over_last(operator, [Window(*window) for window in arguments])


def adaptive_pooling(num_dimensions: int) -> Callable[[Operator], Rule]:
    """Output o of m depends on the operand from ⌊o·n/m⌋ to ⌈(o + 1)·n/m⌉, along the last dimensions."""

    def axis(size: int, outputs: int) -> Axis:
        def to_operand(span: Span, clip: bool) -> Span:
            if outputs == 1:
                return whole(size, clip)[0]
            return Span(size, span.low * size // outputs, -(-span.high * size // outputs))

        return to_operand

    def rule_of(operator: Operator) -> Rule:
        sizes = zip(operator.operand[-num_dimensions:], operator.outputs[0][-num_dimensions:], strict=True)
        return over_last(operator, [axis(*pair) for pair in sizes])

    return rule_of


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
}
"""For operators with one operand besides weights."""
