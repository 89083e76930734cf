"""Rules of excitation backprop: how each kind of operator passes mass to its operands."""

from typing import Any

import torch
from torch import Tensor

from vitrine.attribution.autograd.calls import Call, carries
from vitrine.attribution.autograd.interception import Rule, backward_of, with_backward
from vitrine.attribution.autograd.rules import (
    ACTIVATIONS,
    CASTS,
    DROPOUTS,
    MEANS,
    NORMALISATIONS,
    cast,
    passes_unchanged,
)
from vitrine.attribution.excitation.constant_factors import ConstantFactors, shifted
from vitrine.attribution.excitation.linear_rules import (
    CONVOLUTIONS,
    TRANSPOSED_CONVOLUTIONS,
    LinearRules,
    NegativeActivations,
)
from vitrine.attribution.excitation.winning_probability import reciprocals
from vitrine.core.options import checked


@checked
def excitation_rules(negative_activations: NegativeActivations) -> dict[str, Rule]:
    """Rules by operator name, for one forward pass.

    Args:
        negative_activations: see `vitrine.attribution.ExcitationBackprop`.

    Raises:
        OptionError: for another value.
    """
    linear = LinearRules(negative_activations)
    factors = ConstantFactors(linear.sources)
    return (
        dict.fromkeys(ACTIVATIONS | NORMALISATIONS, passes_unchanged)
        | dict.fromkeys(DROPOUTS, lambda call: shifted(call, call.operand))
        | dict.fromkeys(("sigmoid", "hardsigmoid"), gate)
        | dict.fromkeys(CASTS, cast)
        | dict.fromkeys([*CONVOLUTIONS, *TRANSPOSED_CONVOLUTIONS, "linear"], linear.weighted)
        | dict.fromkeys(CONVOLUTIONS, lambda call: factors.depthwise(call, otherwise=linear.weighted))
        | dict.fromkeys(MEANS, linear.mean)
        | {"interpolate": linear.interpolate, "batch_norm": factors.batch_norm}
        | {"add": add, "sub": subtract, "mul": lambda call: multiply(call, factors), "div": factors.divide}
        | {"neg": factors.negate, "addcmul": factors.addcmul, "addcdiv": factors.addcdiv, "lerp": factors.lerp}
    )


def add(call: Call) -> Any:
    """Splits mass in proportion to the operands' positive parts; a constant gets none."""
    a, b = call.argument(0, "input"), call.argument(1, "other")
    if not (carries(a) and carries(b)):
        return shifted(call, a if carries(a) else b)
    positive = [a.detach().clamp(min=0), (b.detach() * call.kwargs.get("alpha", 1)).clamp(min=0)]
    scale = reciprocals(positive[0] + positive[1])
    ratios, shapes = [x * scale for x in positive], [a.shape, b.shape]
    return with_backward(
        call, lambda mass: [(mass * r).sum_to_size(s) for r, s in zip(ratios, shapes, strict=True)], a, b
    )


def subtract(call: Call) -> Any:
    """Passes mass unchanged if the second operand is a constant."""
    a, b = call.argument(0, "input"), call.argument(1, "other")
    return shifted(call, a) if carries(a) and not carries(b) else NotImplemented


class Gate:
    """The backward pass of a sigmoid, by which a product recognises its gate; it passes mass unchanged."""

    def __init__(self, shape: torch.Size) -> None:
        self.shape = shape

    def __call__(self, mass: Tensor) -> tuple[Tensor]:
        """The mass at the operand from the mass at the output."""
        return (mass.sum_to_size(self.shape),)


def gate(call: Call) -> Any:
    """Passes mass unchanged, and marks the output as a gate for a following product."""
    return with_backward(call, Gate(call.operand.shape), call.operand) if carries(call.operand) else NotImplemented


def multiply(call: Call, factors: ConstantFactors) -> Any:
    """A constant factor; of two operands that are none, mass goes to the features and not to the sigmoid or smaller gate."""
    a, b = call.argument(0, "input"), call.argument(1, "other")
    if not (carries(a) and carries(b)):
        return factors.scaled(call, *((a, b) if carries(a) else (b, a)))
    gates = [isinstance(backward_of(x.grad_fn), Gate) for x in (a, b)]
    if gates[0] != gates[1]:
        return _all_to(b if gates[0] else a, call)
    if a.numel() == b.numel():
        return NotImplemented
    return _all_to(a if a.numel() > b.numel() else b, call)


def _all_to(receiver: Tensor, call: Call) -> Any:
    operands = [call.argument(0, "input"), call.argument(1, "other")]
    is_receiver, shape = [x is receiver for x in operands], receiver.shape
    return with_backward(
        call, lambda mass: [mass.sum_to_size(shape) if receives else None for receives in is_receiver], *operands
    )
