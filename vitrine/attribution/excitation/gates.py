"""Gates of excitation backprop: what weighs or scales other activations and gets no mass, such as attention weights.

What a softmax, an exponential or a reciprocal gives is a constant for what follows, so that queries and keys, or the
statistics of a normalisation, get no mass and their graph is not kept.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary
from typing_extensions import override

from vitrine.attribution.autograd.calls import Call, carries, tensors_in, words
from vitrine.attribution.autograd.interception import Rule, StrictInterception
from vitrine.attribution.autograd.rules import DROPOUTS, SELECTIONS, STRUCTURAL

SOFTMAXES = words("softmax log_softmax softmin gumbel_softmax special_softmax special_log_softmax")

EXPONENTIALS = words("exp exp2 expm1 special_exp2 special_expm1")

RECIPROCALS = words("reciprocal rdiv rtruediv rsqrt rpow")
"""Elementwise functions of one value with a constant, which scales are made of, and features are not."""

GATES = SOFTMAXES | EXPONENTIALS | RECIPROCALS | words("div pow float_power scaled_dot_product_attention")
"""Operators that may give constants; the last ones where features are in no operand but a gate's."""

METHOD = "Excitation backprop"


def constant(call: Call) -> Any:
    """The value of a gate, which is a constant for what follows."""
    if call.written is not None:
        return NotImplemented  # the tensor that is changed has its place in the graph
    with torch.no_grad():
        return call()


class GateMarks:
    """Tensors of one forward pass that depend on the pixels and get no mass: constants for the rules, but no weights."""

    def __init__(self) -> None:
        self._operators: Any = WeakTensorKeyDictionary()  # of the gate that each was made from; empty for no gate

    def __contains__(self, tensor: Tensor) -> bool:
        return tensor in self._operators

    def follow(self, call: Call, output: Any) -> None:
        """Marks what a call gives without a gradient, if its arguments depend on the pixels."""
        constants = [x for x in tensors_in([output, call.written]) if not carries(x)]
        if not constants:
            return
        arguments = list(tensors_in((call.args, call.kwargs)))
        found = [call.full_name if call.name in GATES else "" for x in arguments if carries(x)]
        found += [self._operators[x] for x in arguments if x in self._operators]
        for x in constants if found else ():
            self._operators[x] = max(found)

    def check(self, output: Tensor) -> None:
        """Makes sure that mass can start at the explained output.

        Raises:
            ValueError: if it depends on the pixels by gates alone, with the name of one.
        """
        name = "" if carries(output) else self._operators.get(output, "")
        if name:
            raise ValueError(
                f"{METHOD} has no rule for {name} on the only way from the explained output to the pixels, since what it"
                " gives is a gate and gets no mass; explain the logits or a layer before it."
            )


class ExcitationInterception(StrictInterception):
    """The interception of one forward pass, in which gates are marked.

    Args:
        rules: by operator name, which share the marks.
        marks: of this forward pass.
        device_type: as in `StrictInterception`.
    """

    remedy = "explain a layer before it, or use a method that needs no rules, such as Saliency or RISE"

    def __init__(self, rules: dict[str, Rule], marks: GateMarks, device_type: str) -> None:
        super().__init__(rules, STRUCTURAL | SELECTIONS, device_type, METHOD)
        self.marks = marks

    @override
    def connected(self, call: Call) -> Any:
        if call.name in DROPOUTS and not call.argument(2, "training", call.kwargs.get("train", True)):
            return call.operand  # also if it would work in place, on a view that may not be written to
        output = super().connected(call)
        self.marks.follow(call, output)
        return output

    @override
    def unconnected(self, call: Call) -> Any:
        if not any(x in self.marks for x in tensors_in((call.args, call.kwargs))):
            return super().unconnected(call)
        with self.full_precision():  # as activations are, with which the weights of a half model do not go
            output = super().unconnected(call.widened())
        self.marks.follow(call, output)
        return output
