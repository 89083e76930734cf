"""Rules for operators that move, cut and join without computing."""

from collections.abc import Callable, Mapping, Sequence

from vitrine.filters.receptive_field.region import (
    Demand,
    Dimension,
    Operator,
    Region,
    Rule,
    Span,
    aligned,
    clipped,
    reshaped,
    span_of,
    whole,
)


def view(operator: Operator) -> Rule:
    """Another shape of the same elements in the same order."""
    return lambda demand: operator.alone(reshaped(demand.region, operator.operand, demand.clip))


def expansion(operator: Operator) -> Rule:
    """Repeats dimensions of size 1."""
    return lambda demand: operator.alone(aligned(demand.region, operator.operand))


def permutation(operator: Operator) -> Rule:
    """Output dimension i is the operand's dims[i]."""
    count = len(operator.operand)
    return _permuted(operator, [dimension % count for dimension in operator.arguments["dims"]])


def transposition(operator: Operator) -> Rule:
    """Exchanges two dimensions."""
    count = len(operator.operand)
    order = list(range(count))
    first, second = operator.dimension("dim0", count), operator.dimension("dim1", count)
    order[first], order[second] = second, first
    return _permuted(operator, order)


def matrix_transposition(operator: Operator) -> Rule:
    """Exchanges the dimensions of a matrix."""
    return _permuted(operator, list(reversed(range(len(operator.operand)))))


def channel_shuffle(operator: Operator) -> Rule:
    """Deals the channels of g groups out in turn."""
    batch, channels, *places = operator.operand
    groups = operator.arguments["groups"]

    def rule(demand: Demand) -> Sequence[Region | None]:
        dealt = reshaped(demand.region, (batch, channels // groups, groups, *places), demand.clip)
        gathered = (dealt[0], dealt[2], dealt[1], *dealt[3:])
        return operator.alone(reshaped(gathered, operator.operand, demand.clip))

    return rule


def _permuted(operator: Operator, order: Sequence[int]) -> Rule:
    places = [order.index(dimension) for dimension in range(len(order))]
    return lambda demand: operator.alone(tuple(demand.region[place] for place in places))


def _replaced(region: Region, dimension: int, by: Dimension) -> Region:
    return (*region[:dimension], by, *region[dimension + 1 :])


def _cut(operator: Operator, dimension: int, start: int, step: int = 1) -> Callable[[Region], Region]:
    """The region of the operand from one of the part of it that begins at ``start``."""
    size = operator.operand[dimension]

    def placed(region: Region) -> Region:
        span = span_of(region[dimension])
        low, high = start + span.low * step, start + (span.high - 1) * step + 1
        return _replaced(region, dimension, (Span(size, low, high),))

    return placed


def slicing(operator: Operator) -> Rule:
    """Every step-th index from start to end of a dimension."""
    dimension = operator.dimension("dim", len(operator.operand))
    given = slice(operator.arguments["start"], operator.arguments["end"])
    start, _, _ = given.indices(operator.operand[dimension])
    placed = _cut(operator, dimension, start, operator.arguments["step"])
    return lambda demand: operator.alone(placed(demand.region))


def selection(operator: Operator) -> Rule:
    """One index of a dimension, which is dropped."""
    dimension = operator.dimension("dim", len(operator.operand))
    size = operator.operand[dimension]
    return _inserted(operator, dimension, lambda _: operator.arguments["index"] % size)


def unbinding(operator: Operator) -> Rule:
    """Every index of a dimension as an output of its own."""
    return _inserted(operator, operator.dimension("dim", len(operator.operand)), lambda output: output)


def _inserted(operator: Operator, dimension: int, index_of: Callable[[int], int]) -> Rule:
    indices = [index_of(output) for output in range(len(operator.outputs))]

    def rule(demand: Demand) -> Sequence[Region | None]:
        index = indices[demand.output]
        span = (Span(operator.operand[dimension], index, index + 1),)
        return operator.alone((*demand.region[:dimension], span, *demand.region[dimension:]))

    return rule


def splitting(operator: Operator) -> Rule:
    """Cuts a dimension into parts, each an output of its own."""
    dimension = operator.dimension("dim", len(operator.operand))
    sizes = [shape[dimension] for shape in operator.outputs]
    parts = [_cut(operator, dimension, sum(sizes[:index])) for index in range(len(sizes))]
    return lambda demand: operator.alone(parts[demand.output](demand.region))


def concatenation(operator: Operator) -> Rule:
    """Joins along a dimension."""
    dimension = operator.dimension("dim", len(operator.outputs[0]))
    starts = _starts(operator, dimension)

    def part(demand: Demand, start: int | None, size: int) -> Region | None:
        if start is None:
            return _replaced(demand.region, dimension, whole(size, demand.clip))
        span = span_of(demand.region[dimension])
        own = _replaced(demand.region, dimension, (Span(size, span.low - start, span.high - start),))
        inside = clipped((own[dimension],))
        return None if inside is None else _replaced(own, dimension, inside[0])

    def rule(demand: Demand) -> Sequence[Region | None]:
        return [
            None if shape is None else part(demand, start, shape[dimension])
            for start, shape in zip(starts, operator.operands, strict=True)
        ]

    return rule


def _starts(operator: Operator, dimension: int) -> list[int | None]:
    """Where each part begins; None where that is behind several constants, whose sizes the graph has not kept."""
    sizes = [None if shape is None else shape[dimension] for shape in operator.operands]
    known = [size for size in sizes if size is not None]
    if len(known) == len(sizes) - 1:
        rest = operator.outputs[0][dimension] - sum(known)
        sizes = [rest if size is None else size for size in sizes]
    starts: list[int | None] = []
    start: int | None = 0
    for size in sizes:
        starts.append(start)
        start = None if size is None or start is None else start + size
    return starts


def stacking(operator: Operator) -> Rule:
    """Joins along a new dimension."""
    dimension = operator.dimension("dim", len(operator.outputs[0]))

    def rule(demand: Demand) -> Sequence[Region | None]:
        span = span_of(demand.region[dimension])
        rest = (*demand.region[:dimension], *demand.region[dimension + 1 :])
        return [
            rest if shape is not None and span.low <= index < span.high else None
            for index, shape in enumerate(operator.operands)
        ]

    return rule


def rolling(operator: Operator) -> Rule:
    """Moves indices round; all of a dimension is needed where the region goes over its end."""
    count = len(operator.operand)
    shifts = zip(operator.arguments["dims"], operator.arguments["shifts"], strict=True)
    moves = {dimension % count: shift for dimension, shift in shifts}

    def rolled(dimension: Dimension, size: int, shift: int, clip: bool) -> Dimension:
        span = span_of(dimension)
        low = (span.low - shift) % size
        high = low + span.high - span.low
        return whole(size, clip) if span.is_far or high > size else (Span(size, low, high),)

    def rule(demand: Demand) -> Sequence[Region | None]:
        region = demand.region
        for dimension, shift in moves.items():
            moved = rolled(region[dimension], operator.operand[dimension], shift, demand.clip)
            region = _replaced(region, dimension, moved)
        return operator.alone(region)

    return rule


def repetition(operator: Operator) -> Rule:
    """Repeats a tensor; all of a dimension is needed where the region goes over the end of a copy."""

    def once(dimension: Dimension, size: int, clip: bool) -> Dimension:
        span = span_of(dimension)
        if span.size == size:
            return dimension
        low = span.low % size
        high = low + span.high - span.low
        return whole(size, clip) if high > size else (Span(size, low, high),)

    def rule(demand: Demand) -> Sequence[Region | None]:
        kept = demand.region[len(demand.region) - len(operator.operand) :]
        pairs = zip(kept, operator.operand, strict=True)
        return operator.alone(tuple(once(dimension, size, demand.clip) for dimension, size in pairs))

    return rule


INDEX_RULES: Mapping[str, Callable[[Operator], Rule]] = {
    **dict.fromkeys(("View", "UnsafeView", "ReshapeAlias", "Squeeze", "Unsqueeze"), view),
    "Expand": expansion,
    "Permute": permutation,
    "Transpose": transposition,
    "T": matrix_transposition,
    **dict.fromkeys(("ChannelShuffle", "NativeChannelShuffle"), channel_shuffle),
    "Slice": slicing,
    "Select": selection,
    "Unbind": unbinding,
    "Split": splitting,
    "SplitWithSizes": splitting,
    "Roll": rolling,
    "Repeat": repetition,
}
"""Of operators with one operand."""

JOINING_RULES: Mapping[str, Callable[[Operator], Rule]] = {"Cat": concatenation, "Stack": stacking}
"""Of operators with several operands."""
