"""What of the input a part of a layer's output is made of, read off the graph of a forward pass."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import GradientEdge, Node

from vitrine.filters.receptive_field.index_rules import INDEX_RULES, JOINING_RULES
from vitrine.filters.receptive_field.mixing_rules import COMBINING_RULES, MIXING_RULES, unknown
from vitrine.filters.receptive_field.region import Demand, Operator, Region, Rule, Size, arguments_of, clipped, hull
from vitrine.filters.receptive_field.window_rules import WINDOW_RULES

# By the names of operators in the graph, without "Backward" and what follows.
_OF_ONE_OPERAND: Mapping[str, Callable[[Operator], Rule]] = {**WINDOW_RULES, **INDEX_RULES, **MIXING_RULES}
_OF_SEVERAL: Mapping[str, Callable[[Operator], Rule]] = {**JOINING_RULES, **COMBINING_RULES}


class _Step(NamedTuple):
    rule: Rule
    operands: list[tuple[int, int] | None]
    """Which output of which step each operand is."""


class Dependence:
    """Follows boxes of a layer's output back to the input, operator by operator; ways that meet are put in one box.

    The box holds every element of the input that the region depends on, whatever the weights are; all operands of an
    operator without a rule are taken whole. Gaps, such as those of a dilated kernel, are in the box as well; what is in them
    can make the box behind a border of dilated, reflecting or circular layers larger than need be. The graph is not kept.

    Args:
        end: the output of a layer.
        size: the shape (1, C, H, W) of the input.
    """

    def __init__(self, end: GradientEdge, size: Size) -> None:
        self.shape = _outputs(end.node)[end.output_nr]
        self._output = end.output_nr
        nodes = _from_output_to_input(end.node)
        places = {node: place for place, node in enumerate(nodes)}
        self._steps = [_step(node, places) for node in nodes]
        leaves = [place for node, place in places.items() if not node.next_functions and _outputs(node) == [size]]
        self._leaf = leaves[-1]

    def of(self, region: Region, *, clip: bool) -> Region | None:
        """The region (1, C, H, W) of the input that one of the output needs; None where it needs nothing.

        Args:
            region: of the output.
            clip: whether indices that a tensor does not have, such as those of padding, are left out.
        """
        needed: list[dict[int, Region]] = [{} for _ in self._steps]
        needed[0][self._output] = region
        for step, outputs in zip(self._steps, needed, strict=True):
            for output, looked_at in outputs.items():
                found = step.rule(Demand(looked_at, output, clip))
                for operand, part in zip(step.operands, found, strict=True):
                    existing = clipped(part) if clip and part is not None else part
                    if operand is not None and existing is not None:
                        place, number = operand
                        needed[place][number] = hull(needed[place].get(number), existing)
        return needed[self._leaf].get(0)


def _step(node: Node, places: Mapping[Node, int]) -> _Step:
    operands = [None if operand is None else (places[operand], number) for operand, number in node.next_functions]
    shapes = [None if operand is None else _outputs(operand)[number] for operand, number in node.next_functions]
    rule = rule_for(node)
    arguments = {} if rule is unknown else arguments_of(node)
    return _Step(rule(Operator(arguments, _outputs(node), shapes)), operands)


def rule_for(node: Node) -> Callable[[Operator], Rule]:
    """The rule for an operator; `unknown` where there is none."""
    if isinstance(node, BackwardCFunction):  # a class of the user's, whatever its name
        return unknown
    name = re.sub(r"Backwards?\d*$", "", node.name().rpartition("::")[2])
    if name in _OF_ONE_OPERAND:
        depends = [operand is not None for operand, _ in node.next_functions]
        # Weights that are made from the input mix all places.
        return unknown if not depends[0] or any(depends[1:]) else _OF_ONE_OPERAND[name]
    return _OF_SEVERAL.get(name, unknown)


def _outputs(node: Node) -> list[Size]:
    metadata: Any = node._input_metadata  # noqa: SLF001 - what is its input on the way back is its output on the way there
    return [tuple(entry.shape) for entry in metadata]


def _from_output_to_input(end: Node) -> list[Node]:
    """All nodes before one, each after all that use it."""
    finished: dict[Node, None] = {}
    stack: list[tuple[Node, Iterator[Any]]] = [(end, iter(end.next_functions))]
    entered = {end}
    while stack:
        node, operands = stack[-1]
        operand = next((operand for operand, _ in operands if operand is not None and operand not in entered), None)
        if operand is None:
            finished[node] = None
            stack.pop()
        else:
            entered.add(operand)
            stack.append((operand, iter(operand.next_functions)))
    return list(reversed(finished))
