"""Boxes of indices of a tensor, which stay boxes when it is reshaped, and the operators that they go through."""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

from torch import Tensor
from torch.autograd.graph import Node

Size = tuple[int, ...]

FAR = 10**15
"""A bound that stands for no bound: a region without clipping that reaches so far is all there is."""


class Span(NamedTuple):
    """A half-open range of indices."""

    size: int
    """Of the dimension, or of the factor of one, that the indices belong to."""
    low: int
    high: int

    @property
    def is_far(self) -> bool:
        """Whether it means all there is, however far that goes."""
        return self.high - self.low > FAR // 10**6


Dimension = tuple[Span, ...]
"""Factors whose sizes multiply to the dimension's, the last one running fastest: h·w places remain h and w."""

Region = tuple[Dimension, ...]
"""A range in every factor of every dimension."""


def whole(size: int, clip: bool) -> Dimension:
    """All of a dimension; without clipping, as far as it goes."""
    return (Span(size, 0, size) if clip else Span(size, -FAR, FAR),)


def whole_of(shape: Size, clip: bool) -> Region:
    """All of a tensor."""
    return tuple(whole(size, clip) for size in shape)


def span_of(dimension: Dimension) -> Span:
    """The range of a dimension's own indices, from the first to the last in the region."""
    if len(dimension) == 1:
        return dimension[0]
    size = prod(span.size for span in dimension)
    if dimension[0].is_far:  # a window that is far within itself, such as one of attention, is not
        return Span(size, -FAR, FAR)
    low = last = 0
    for span in dimension:
        first, end = (0, span.size) if span.is_far else (span.low, span.high)
        low, last = low * span.size + first, last * span.size + end - 1
    return Span(size, low, last + 1)


def hull(one: Region | None, other: Region) -> Region:
    """The smallest box around two regions of a tensor; None is the empty one."""
    if one is None:
        return other
    return tuple(_hull(*dimensions) for dimensions in zip(one, other, strict=True))


def _hull(one: Dimension, other: Dimension) -> Dimension:
    if [span.size for span in one] != [span.size for span in other]:
        one, other = (span_of(one),), (span_of(other),)
    return tuple(Span(a.size, min(a.low, b.low), max(a.high, b.high)) for a, b in zip(one, other, strict=True))


def clipped(region: Region) -> Region | None:
    """What of a region exists; None where nothing does."""
    spans = tuple(
        tuple(Span(span.size, max(span.low, 0), min(span.high, span.size)) for span in dimension)
        for dimension in region
    )
    return None if any(span.low >= span.high for dimension in spans for span in dimension) else spans


def reshaped(region: Region, shape: Size, clip: bool) -> Region:
    """The same elements in a tensor of another shape; all of it where the shapes have no common factors."""
    spans = [span for dimension in region for span in dimension if span.size != 1]
    dimensions = []
    for size in shape:
        dimension = _taken(spans, size)
        if dimension is None:
            return whole_of(shape, clip)
        dimensions.append(dimension)
    return tuple(dimensions)


def _taken(spans: list[Span], size: int) -> Dimension | None:
    taken = []
    while size > 1:
        span = spans.pop(0)
        if span.size > size:
            if span.size % size:
                return None
            span, rest = _split(span, size)
            spans.insert(0, rest)
        elif size % span.size:
            return None
        taken.append(span)
        size //= span.size
    return tuple(taken) or (Span(1, 0, 1),)


def _split(span: Span, size: int) -> tuple[Span, Span]:
    """The factor of the given size, and the faster one that remains."""
    rest = span.size // size
    if span.is_far:
        return Span(size, -FAR, FAR), Span(rest, -FAR, FAR)
    first, last = span.low // rest, (span.high - 1) // rest
    inner = Span(rest, span.low % rest, (span.high - 1) % rest + 1) if first == last else Span(rest, 0, rest)
    return Span(size, first, last + 1), inner


def aligned(region: Region, shape: Size) -> Region:
    """The region that an operand of this shape adds to, when it is broadcast to the region's tensor."""
    kept = region[len(region) - len(shape) :]
    return tuple(
        dimension if size != 1 or _size(dimension) == 1 else (Span(1, 0, 1),)
        for dimension, size in zip(kept, shape, strict=True)
    )


def _size(dimension: Sequence[Span]) -> int:
    return prod(span.size for span in dimension)


class Demand(NamedTuple):
    """What of an operator's output is looked at."""

    region: Region
    output: int
    """Which of its outputs."""
    clip: bool
    """Whether indices that a tensor does not have, such as those of padding, are left out."""


Rule = Callable[[Demand], Sequence[Region | None]]
"""What of each operand is needed for it; None for nothing."""


class Operator(NamedTuple):
    """One operator of a forward pass."""

    arguments: Mapping[str, Any]
    """Those that the graph has kept, as far as they are plain values; of a weight its shape."""
    outputs: list[Size]
    operands: list[Size | None]
    """Shapes of what it was given; None for what does not depend on the input."""

    def dimension(self, name: str, count: int) -> int:
        """An argument that names one of ``count`` dimensions, from 0."""
        return int(self.arguments[name]) % count

    def alone(self, region: Region | None) -> list[Region | None]:
        """For an operator whose first operand is the only one that depends on the input."""
        return [region] + [None] * (len(self.operands) - 1)

    @property
    def operand(self) -> Size:
        """Shape of the first operand, for an operator where no other depends on the input."""
        return self.operands[0] or ()


_ARGUMENTS = (
    "stride", "padding", "dilation", "groups", "transposed", "weight", "kernel_size", "pad", "scales_h", "scales_w",
    "align_corners", "upscale_factor", "downscale_factor", "dim", "dims", "dim0", "dim1", "start", "end", "step",
    "index", "shifts", "normalized_shape", "training",
)  # fmt: skip


def arguments_of(node: Node) -> dict[str, Any]:
    """What the rules read of the arguments of an operator."""
    kept = {name: getattr(node, f"_saved_{name}") for name in _ARGUMENTS if f"_saved_{name}" in dir(node)}
    return {name: tuple(value.shape) if isinstance(value, Tensor) else _signed(value) for name, value in kept.items()}


def _signed(value: Any) -> Any:
    """The graph shows negative integers as unsigned ones of 64 bits."""
    if isinstance(value, tuple | list):
        return tuple(_signed(item) for item in value)
    return value - 2**64 if isinstance(value, int) and value >= 2**63 else value
