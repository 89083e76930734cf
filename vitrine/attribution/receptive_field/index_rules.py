"""Rules for operators that rearrange elements: views, permutations, rolls, repetitions."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from vitrine.attribution.receptive_field.mixing_rules import unknown
from vitrine.attribution.receptive_field.operators import Demand, Operator, Rule
from vitrine.attribution.receptive_field.region import (
    Dimension,
    Region,
    Span,
    aligned,
    replaced,
    reshaped,
    span_of,
    whole,
)


def view(operator: Operator) -> Rule:
    """Reshapes."""
    return lambda demand: operator.first_only(reshaped(demand.region, operator.operand, demand.clip))


def expansion(operator: Operator) -> Rule:
    """Broadcasts dimensions of size 1."""
    return lambda demand: operator.first_only(aligned(demand.region, operator.operand))


def permutation(operator: Operator) -> Rule:
    """Permutes dimensions: output dimension i is the operand's dims[i]."""
    count = len(operator.operand)
    return _permuted(operator, [dimension % count for dimension in operator.arguments["dims"]])


def transposition(operator: Operator) -> Rule:
    """Swaps two dimensions."""
    count = len(operator.operand)
    order = list(range(count))
    first, second = operator.dimension("dim0", count), operator.dimension("dim1", count)
    order[first], order[second] = second, first
    return _permuted(operator, order)


def matrix_transposition(operator: Operator) -> Rule:
    """Transposes a matrix."""
    return _permuted(operator, list(reversed(range(len(operator.operand)))))


def channel_shuffle(operator: Operator) -> Rule:
    """Interleaves the channels of g groups."""
    batch, channels, *locations = operator.operand
    groups = operator.arguments["groups"]

    def rule(demand: Demand) -> Sequence[Region | None]:
        split = reshaped(demand.region, (batch, channels // groups, groups, *locations), demand.clip)
        grouped = (split[0], split[2], split[1], *split[3:])
        return operator.first_only(reshaped(grouped, operator.operand, demand.clip))

    return rule


def _permuted(operator: Operator, order: Sequence[int]) -> Rule:
    inverse = [order.index(dimension) for dimension in range(len(order))]
    return lambda demand: operator.first_only(tuple(demand.region[index] for index in inverse))


def rolling(operator: Operator) -> Rule:
    """Shifts indices cyclically; where the region wraps around, it depends on all of the dimension.

    Without dimensions the flattened tensor is shifted, which is taken to depend on all of it.
    """
    if not operator.arguments["dims"]:
        return unknown(operator)
    shift_of: Counter[int] = Counter()
    for dimension, by in zip(operator.arguments["dims"], operator.arguments["shifts"], strict=True):
        shift_of[dimension % len(operator.operand)] += by

    def rolled(dimension: Dimension, size: int, shift: int, clip: bool) -> Dimension:
        span = span_of(dimension)
        low = (span.low - shift) % size
        high = low + span.high - span.low
        return whole(size, clip) if span.is_far or high > size else (Span(size, low, high),)

    def rule(demand: Demand) -> Sequence[Region | None]:
        region = demand.region
        for dimension, shift in shift_of.items():
            shifted = rolled(region[dimension], operator.operand[dimension], shift, demand.clip)
            region = replaced(region, dimension, shifted)
        return operator.first_only(region)

    return rule


def repetition(operator: Operator) -> Rule:
    """Tiles a tensor; where the region spans several copies, it depends on all of the dimension."""

    def once(dimension: Dimension, size: int, clip: bool) -> Dimension:
        span = span_of(dimension)
        if span.size == size:
            return dimension
        low = span.low % size
        high = low + span.high - span.low
        return whole(size, clip) if high > size else (Span(size, low, high),)

    def rule(demand: Demand) -> Sequence[Region | None]:
        trailing = demand.region[len(demand.region) - len(operator.operand) :]
        pairs = zip(trailing, operator.operand, strict=True)
        return operator.first_only(tuple(once(dimension, size, demand.clip) for dimension, size in pairs))

    return rule


INDEX_RULES: Mapping[str, Callable[[Operator], Rule]] = {
    **dict.fromkeys(("View", "UnsafeView", "ReshapeAlias", "Squeeze", "Unsqueeze"), view),
    "Expand": expansion,
    "Permute": permutation,
    "Transpose": transposition,
    "T": matrix_transposition,
    **dict.fromkeys(("ChannelShuffle", "NativeChannelShuffle"), channel_shuffle),
    "Roll": rolling,
    "Repeat": repetition,
}
"""For operators with one operand."""
