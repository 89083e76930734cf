"""Dependence of a layer's output on the input, propagated through the autograd graph of a forward pass."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import GradientEdge, Node

from vitrine.attribution.receptive_field.index_rules import INDEX_RULES
from vitrine.attribution.receptive_field.joining_rules import JOINING_RULES, SPLITTING_RULES
from vitrine.attribution.receptive_field.local_rules import local_rule
from vitrine.attribution.receptive_field.mixing_rules import COMBINING_RULES, MIXING_RULES, unknown
from vitrine.attribution.receptive_field.operators import Demand, Operator, Rule, arguments_of
from vitrine.attribution.receptive_field.region import Region, Size, clipped, hull
from vitrine.attribution.receptive_field.resampling_rules import RESAMPLING_RULES
from vitrine.attribution.receptive_field.window_rules import WINDOW_RULES

# By the names of operators in the graph, without the suffix "Backward…".
_OF_ONE_OPERAND: Mapping[str, Callable[[Operator], Rule]] = {
    **WINDOW_RULES,
    **RESAMPLING_RULES,
    **INDEX_RULES,
    **SPLITTING_RULES,
    **MIXING_RULES,
}
_OF_SEVERAL: Mapping[str, Callable[[Operator], Rule]] = {**JOINING_RULES, **COMBINING_RULES}


class _Step(NamedTuple):
    rule: Rule
    operands: list[tuple[int, int] | None]
    """Of each operand, the index of the step that computes it and of its output there; None for constants."""


class Dependence:
    """Propagates boxes of a layer's output back to the input, operator by operator; where paths join, boxes are merged.

    The resulting box contains every element of the input that the region depends on, whatever the weights are; operators
    without a rule are taken to depend on all of their operands. Gaps, such as those of a dilated kernel, are filled, which
    can make the box larger than necessary at borders of dilated, reflecting or circular layers. The graph is not stored.

    Args:
        end: the output of a layer.
        size: the shape (1, C, H, W) of the input.
        local: whether operators that look at all of the image are left out, see `local_rules`.
    """

    def __init__(self, end: GradientEdge, size: Size, *, local: bool = False) -> None:
        self.shape = _outputs(end.node)[end.output_nr]
        self._output = end.output_nr
        nodes = _topological_order(end.node)
        positions = {node: position for position, node in enumerate(nodes)}
        self._steps = [_step(node, positions, local) for node in nodes]
        leaves = [
            position for node, position in positions.items() if not node.next_functions and _outputs(node) == [size]
        ]
        self._leaf = leaves[-1]

    def of(self, region: Region, *, clip: bool) -> Region | None:
        """The region (1, C, H, W) of the input that a region of the output depends on; None for no dependence.

        Args:
            region: of the output.
            clip: whether indices outside a tensor, such as those of padding, are left out.
        """
        regions: list[dict[int, Region]] = [{} for _ in self._steps]
        regions[0][self._output] = region
        for step, outputs in zip(self._steps, regions, strict=True):
            for output, of_output in outputs.items():
                of_operands = step.rule(Demand(of_output, output, clip))
                for operand, of_operand in zip(step.operands, of_operands, strict=True):
                    inside = clipped(of_operand) if clip and of_operand is not None else of_operand
                    if operand is not None and inside is not None:
                        position, number = operand
                        regions[position][number] = hull(regions[position].get(number), inside)
        return regions[self._leaf].get(0)


def _step(node: Node, positions: Mapping[Node, int], local: bool) -> _Step:
    operands = [None if operand is None else (positions[operand], number) for operand, number in node.next_functions]
    shapes = [None if operand is None else _outputs(operand)[number] for operand, number in node.next_functions]
    rule = rule_for(node)
    arguments = {} if rule is unknown else arguments_of(node)
    dtype = _metadata(node)[0].dtype
    if local:
        rule = local_rule(_name(node), rule)
    return _Step(rule(Operator(arguments, _outputs(node), shapes, dtype)), operands)


def rule_for(node: Node) -> Callable[[Operator], Rule]:
    """The rule for an operator; `unknown` where there is none."""
    if isinstance(node, BackwardCFunction):  # a user's autograd.Function, whatever its name
        return unknown
    name = _name(node)
    if name in _OF_ONE_OPERAND:
        depends = [operand is not None for operand, _ in node.next_functions]
        # Weights computed from the input make the output depend on all of it.
        return unknown if not depends[0] or any(depends[1:]) else _OF_ONE_OPERAND[name]
    return _OF_SEVERAL.get(name, unknown)


def _name(node: Node) -> str:
    """Of an operator, without the suffix "Backward…"."""
    return re.sub(r"Backwards?\d*$", "", node.name().rpartition("::")[2])


def _outputs(node: Node) -> list[Size]:
    return [tuple(entry.shape) for entry in _metadata(node)]


def _metadata(node: Node) -> Any:
    return node._input_metadata  # noqa: SLF001 - inputs of the backward operator are outputs of the forward one


def _topological_order(end: Node) -> list[Node]:
    """A node and all that it depends on, each after all nodes that use it."""
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
