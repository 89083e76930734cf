"""Rules for operators that slice, split, concatenate and stack."""

from collections.abc import Callable, Mapping, Sequence

from vitrine.attribution.receptive_field.operators import Demand, Operator, Rule
from vitrine.attribution.receptive_field.region import Region, Span, clipped, replaced, span_of, whole


def _cut(operator: Operator, dimension: int, start: int, step: int = 1) -> Callable[[Region], Region]:
    """Maps a region of the part that begins at ``start`` to the region of the operand."""
    size = operator.operand[dimension]

    def to_operand(region: Region) -> Region:
        span = span_of(region[dimension])
        low, high = start + span.low * step, start + (span.high - 1) * step + 1
        return replaced(region, dimension, (Span(size, low, high),))

    return to_operand


def slicing(operator: Operator) -> Rule:
    """Every step-th index of a dimension, from start to end."""
    dimension = operator.dimension("dim", len(operator.operand))
    bounds = slice(operator.arguments["start"], operator.arguments["end"])
    start, _, _ = bounds.indices(operator.operand[dimension])
    to_operand = _cut(operator, dimension, start, operator.arguments["step"])
    return lambda demand: operator.first_only(to_operand(demand.region))


def selection(operator: Operator) -> Rule:
    """One index of a dimension, which is removed."""
    dimension = operator.dimension("dim", len(operator.operand))
    size = operator.operand[dimension]
    return _inserted(operator, dimension, lambda _: operator.arguments["index"] % size)


def unbinding(operator: Operator) -> Rule:
    """Each index of a dimension as a separate output."""
    return _inserted(operator, operator.dimension("dim", len(operator.operand)), lambda output: output)


def _inserted(operator: Operator, dimension: int, index_of: Callable[[int], int]) -> Rule:
    indices = [index_of(output) for output in range(len(operator.outputs))]

    def rule(demand: Demand) -> Sequence[Region | None]:
        index = indices[demand.output]
        span = (Span(operator.operand[dimension], index, index + 1),)
        return operator.first_only((*demand.region[:dimension], span, *demand.region[dimension:]))

    return rule


def splitting(operator: Operator) -> Rule:
    """Splits a dimension into parts, each a separate output."""
    dimension = operator.dimension("dim", len(operator.operand))
    sizes = [shape[dimension] for shape in operator.outputs]
    parts = [_cut(operator, dimension, sum(sizes[:index])) for index in range(len(sizes))]
    return lambda demand: operator.first_only(parts[demand.output](demand.region))


def concatenation(operator: Operator) -> Rule:
    """Concatenates along a dimension."""
    dimension = operator.dimension("dim", len(operator.outputs[0]))
    starts = _starts(operator, dimension)

    def part(demand: Demand, start: int | None, size: int) -> Region | None:
        if start is None:
            return replaced(demand.region, dimension, whole(size, demand.clip))
        span = span_of(demand.region[dimension])
        of_part = replaced(demand.region, dimension, (Span(size, span.low - start, span.high - start),))
        inside = clipped((of_part[dimension],))
        return None if inside is None else replaced(of_part, dimension, inside[0])

    def rule(demand: Demand) -> Sequence[Region | None]:
        return [
            None if shape is None else part(demand, start, shape[dimension])
            for start, shape in zip(starts, operator.operands, strict=True)
        ]

    return rule


def _starts(operator: Operator, dimension: int) -> list[int | None]:
    """First index of each part; None after several constants, whose sizes the graph has not saved."""
    sizes = [None if shape is None else shape[dimension] for shape in operator.operands]
    known = [size for size in sizes if size is not None]
    if len(known) == len(sizes) - 1:
        remaining = operator.outputs[0][dimension] - sum(known)
        sizes = [remaining if size is None else size for size in sizes]
    starts: list[int | None] = []
    start: int | None = 0
    for size in sizes:
        starts.append(start)
        start = None if size is None or start is None else start + size
    return starts


def stacking(operator: Operator) -> Rule:
    """Stacks along a new dimension."""
    dimension = operator.dimension("dim", len(operator.outputs[0]))

    def rule(demand: Demand) -> Sequence[Region | None]:
        span = span_of(demand.region[dimension])
        rest = (*demand.region[:dimension], *demand.region[dimension + 1 :])
        return [
            rest if shape is not None and span.low <= index < span.high else None
            for index, shape in enumerate(operator.operands)
        ]

    return rule


SPLITTING_RULES: Mapping[str, Callable[[Operator], Rule]] = {
    "Slice": slicing,
    "Select": selection,
    "Unbind": unbinding,
    "Split": splitting,
    "SplitWithSizes": splitting,
}
"""For operators with one operand."""

JOINING_RULES: Mapping[str, Callable[[Operator], Rule]] = {"Cat": concatenation, "Stack": stacking}
"""For operators with several operands."""
