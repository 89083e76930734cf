"""Rules for local receptive fields: what looks at all of the image (gates, statistics of norms, attention) is left out.

A squeeze-and-excitation gate, a group norm or attention makes every cell depend on the whole image. The cell still has a
place: that of the window operators and residual sums that lead to it. These rules follow those alone.
"""

from collections.abc import Callable, Sequence
from math import prod

from vitrine.attribution.receptive_field.mixing_rules import elementwise, unknown
from vitrine.attribution.receptive_field.operators import Demand, Operator, Rule
from vitrine.attribution.receptive_field.region import Region, aligned

ATTENTION = "ScaledDotProduct"
_NORMS = {
    *("NativeBatchNorm", "CudnnBatchNorm", "MiopenBatchNorm", "NativeLayerNorm", "FusedRmsNorm", "NativeGroupNorm"),
}
_PRODUCTS = {"Mm", "Bmm", "Addmm", "Baddbmm"}
_MIXING = {
    *("Amax", "Amin", "LinalgVectorNorm", "Logsumexp", "Max", "Mean", "Min", "Norm", "Prod", "Std", "StdMean", "Sum"),
    *("Var", "VarMean", "Softmax", "LogSoftmax", "SafeSoftmax"),
}


def local_rule(name: str, rule_of: Callable[[Operator], Rule]) -> Callable[[Operator], Rule]:
    """The local rule of an operator.

    Args:
        name: of the operator in the graph, without the suffix "Backward…".
        rule_of: its rule for whole receptive fields.
    """
    if name in _NORMS:
        return first_alone
    if rule_of is unknown or name in _MIXING or name.startswith(ATTENTION):
        return nowhere
    if rule_of is elementwise:
        return largest_operands
    if name in _PRODUCTS:
        return lambda operator: nowhere(operator) if _dependent(operator) > 1 else rule_of(operator)
    if name.startswith("Adaptive"):
        return lambda operator: nowhere(operator) if prod(operator.outputs[0][2:]) == 1 else rule_of(operator)
    return rule_of


def nowhere(operator: Operator) -> Rule:
    """No operand is followed."""
    nothing: list[Region | None] = [None] * len(operator.operands)
    return lambda _: nothing


def first_alone(operator: Operator) -> Rule:
    """The same element of the first operand."""
    return lambda demand: operator.first_only(demand.region)


def largest_operands(operator: Operator) -> Rule:
    """The same element of the operands that are not broadcast, if there is one; a broadcast one is a gate or a statistic."""
    sizes = [0 if shape is None else prod(shape) for shape in operator.operands]

    def rule(demand: Demand) -> Sequence[Region | None]:
        return [
            aligned(demand.region, shape) if shape is not None and size == max(sizes) else None
            for shape, size in zip(operator.operands, sizes, strict=True)
        ]

    return rule


def _dependent(operator: Operator) -> int:
    return sum(shape is not None for shape in operator.operands[-2:])
