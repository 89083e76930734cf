"""Regions: boxes of indices of a tensor, with the algebra to clip, merge, broadcast and reshape them."""

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

Size = tuple[int, ...]

FAR = 10**15
"""Stands for infinity: an unclipped region that extends this far is all of a dimension."""


class Span(NamedTuple):
    """A half-open range of indices."""

    size: int
    """Size of the dimension, or of the factor of a dimension, that the indices belong to."""
    low: int
    high: int

    @property
    def is_far(self) -> bool:
        """Whether it is all of a dimension without clipping."""
        return self.high - self.low > FAR // 10**6


Dimension = tuple[Span, ...]
"""Factors whose sizes multiply to that of the dimension, the last one fastest: h·w flattened locations remain h and w."""

Region = tuple[Dimension, ...]
"""A range for every factor of every dimension."""


def whole(size: int, clip: bool) -> Dimension:
    """All of a dimension; without clipping, from −FAR to FAR."""
    return (Span(size, 0, size) if clip else Span(size, -FAR, FAR),)


def whole_of(shape: Size, clip: bool) -> Region:
    """All of a tensor."""
    return tuple(whole(size, clip) for size in shape)


def span_of(dimension: Dimension) -> Span:
    """The range of a dimension's flat indices, from the first to the last in the region."""
    if len(dimension) == 1:
        return dimension[0]
    size = prod(span.size for span in dimension)
    if dimension[0].is_far:  # but not where only an inner factor is far, such as a window of attention
        return Span(size, -FAR, FAR)
    low = last = 0
    for span in dimension:
        first, end = (0, span.size) if span.is_far else (span.low, span.high)
        low, last = low * span.size + first, last * span.size + end - 1
    return Span(size, low, last + 1)


def hull(one: Region | None, other: Region) -> Region:
    """The smallest box around two regions of a tensor; None is the empty region."""
    if one is None:
        return other
    return tuple(_hull(*dimensions) for dimensions in zip(one, other, strict=True))


def _hull(one: Dimension, other: Dimension) -> Dimension:
    if [span.size for span in one] != [span.size for span in other]:
        one, other = (span_of(one),), (span_of(other),)
    return tuple(Span(a.size, min(a.low, b.low), max(a.high, b.high)) for a, b in zip(one, other, strict=True))


def clipped(region: Region) -> Region | None:
    """The part of a region inside the tensor; None where it is empty."""
    spans = tuple(
        tuple(Span(span.size, max(span.low, 0), min(span.high, span.size)) for span in dimension)
        for dimension in region
    )
    return None if any(span.low >= span.high for dimension in spans for span in dimension) else spans


def replaced(region: Region, dimension: int, by: Dimension) -> Region:
    """The region with another range of one dimension."""
    return (*region[:dimension], by, *region[dimension + 1 :])


def reshaped(region: Region, shape: Size, clip: bool) -> Region:
    """The region of the same elements after reshaping; all of the tensor where the shapes have no common factors."""
    spans = [span for dimension in region for span in dimension if span.size != 1]
    dimensions = []
    for size in shape:
        dimension = _take_factors(spans, size)
        if dimension is None:
            return whole_of(shape, clip)
        dimensions.append(dimension)
    return tuple(dimensions)


def _take_factors(spans: list[Span], size: int) -> Dimension | None:
    factors = []
    while size > 1:
        span = spans.pop(0)
        if span.size > size:
            if span.size % size:
                return None
            span, rest = _split(span, size)
            spans.insert(0, rest)
        elif size % span.size:
            return None
        factors.append(span)
        size //= span.size
    return tuple(factors) or (Span(1, 0, 1),)


def _split(span: Span, size: int) -> tuple[Span, Span]:
    """Splits off a slower factor of the given size; the second is the faster rest."""
    rest = span.size // size
    if span.is_far:
        return Span(size, -FAR, FAR), Span(rest, -FAR, FAR)
    first, last = span.low // rest, (span.high - 1) // rest
    inner = Span(rest, span.low % rest, (span.high - 1) % rest + 1) if first == last else Span(rest, 0, rest)
    return Span(size, first, last + 1), inner


def aligned(region: Region, shape: Size) -> Region:
    """The region of an operand of this shape that is broadcast to the region's tensor."""
    trailing = region[len(region) - len(shape) :]
    return tuple(
        dimension if size != 1 or _size(dimension) == 1 else (Span(1, 0, 1),)
        for dimension, size in zip(trailing, shape, strict=True)
    )


def _size(dimension: Sequence[Span]) -> int:
    return prod(span.size for span in dimension)
