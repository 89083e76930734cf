"""Forward passes whose backward pass propagates relevance, down to the pixels and through layers on the way."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.autograd.graph import Node
from typing_extensions import override

from vitrine.attribution.autograd.calls import Call, carries, words
from vitrine.attribution.autograd.interception import Rule, StrictInterception, with_backward
from vitrine.attribution.autograd.rules import CASTS, DROPOUTS, REARRANGEMENTS
from vitrine.attribution.lrp.composites import Composite
from vitrine.attribution.lrp.operator_rules import OWN_GRADIENT, operator_rules
from vitrine.attribution.lrp.products import with_replaced
from vitrine.attribution.lrp.weighted_calls import CONVOLUTIONS, WeightedCalls

Aux = TypeVar("Aux")

AFFINE = words("add sub rsub mul div neg batch_norm") | DROPOUTS
"""Operators that pass relevance unchanged where they are applied to pixels with constants, as a normalisation is."""


class Propagation(NamedTuple):
    """A forward pass that relevance can be propagated back through."""

    output: Tensor
    """(B, n, …), in float32 or wider."""
    pixels: Tensor
    """(B, C, H, W), the leaf at which relevance arrives."""


@contextmanager
def propagating(device_type: str) -> Iterator[None]:
    """A context with gradients and without reduced precision, for forward and backward passes."""
    with torch.inference_mode(mode=False), torch.enable_grad(), torch.autocast(device_type, enabled=False):
        yield


def propagation(
    forward: Callable[[Tensor], tuple[Tensor, Aux]], inputs: Tensor, composite: Composite
) -> tuple[Propagation, Aux]:
    """Runs a function so that relevance goes back by the rules of a composite; within `propagating`.

    Args:
        forward: maps (B, C, H, W) inputs to (B, n, …) outputs and auxiliary data. It is called once, and modules in it are in
            eval mode.
        inputs: (B, C, H, W).
        composite: the rules.

    Raises:
        ValueError: if an operator between the output and the pixels has no rule.
    """
    pixels = inputs.detach().clone().to(torch.promote_types(inputs.dtype, torch.float32)).requires_grad_()
    images = pixels.clone() if composite.first else of_signals(pixels)
    interception = RelevanceInterception(composite, images, inputs.device.type)
    with interception:
        output, aux = forward(images)
        if composite.first and output.grad_fn in interception.relevant:
            output = of_signals(output)
    interception.check(output)
    return Propagation(output, pixels), aux


def of_signals(x: Tensor) -> Tensor:
    """The same values; a signal that arrives at them goes on as relevance."""
    values = x.detach().clone()
    return with_backward(x.clone, lambda signal: (signal * values,), x)


class RelevanceInterception(StrictInterception):
    """An interception by the rules of a composite.

    Signals go down to the pixels, where they are multiplied with them. With a rule of its own for the first layer, the
    pixels, and what only shifts, scales or rearranges them, get relevance itself instead: that of the first layer as it is,
    and that of any other operator as its signal times the pixels.

    Args:
        composite: the rules.
        images: what enters the network.
        device_type: as in `StrictInterception`.
    """

    remedy = "explain a layer below it, or use a method that needs no rules, such as IntegratedGradients or RISE"

    def __init__(self, composite: Composite, images: Tensor, device_type: str) -> None:
        self.relevant: set[Node | None] = {images.grad_fn} if composite.first else set()
        """Nodes of tensors at which relevance arrives, and no signal."""
        weighted = WeightedCalls(composite, self.relevant)
        rules: dict[str, Rule] = operator_rules(composite.attention, composite.stabiliser) | weighted.rules()
        super().__init__(rules, OWN_GRADIENT, device_type, "LRP")

    @override
    def connected(self, call: Call) -> Any:
        first = [x for x in call.carriers() if x.grad_fn in self.relevant] if self.relevant else []
        is_first_layer = call.name in {*CONVOLUTIONS, "linear"} and len(call.carriers()) == 1
        # Others, such as a question for the shape, are no operators.
        if not first or is_first_layer or call.name not in self.rules.keys() | self.structural:
            return super().connected(call)
        if len(first) == len(call.carriers()) and call.name in REARRANGEMENTS | CASTS | AFFINE:
            return self._prepared(call, first)
        if call.written is not None and any(call.written is x for x in first):
            raise ValueError(
                f"LRP cannot follow {call.full_name}, which changes the pixels in place before the first layer; let it give a"
                " new tensor, or choose a composite without a rule for the first layer."
            )
        return super().connected(with_replaced(call, {id(x): self._with_signals(x) for x in first}))

    def _with_signals(self, x: Tensor) -> Tensor:
        start = self.origins.start([x])
        adapted = of_signals(x)
        self.origins.add(start, None)
        return adapted

    def _prepared(self, call: Call, pixels: Sequence[Tensor]) -> Any:
        """The value of an operator that shifts, scales or rearranges pixels."""
        start = self.origins.start(pixels)
        if call.name not in AFFINE:
            output = call()
        elif len(pixels) > 1:
            return super().connected(with_replaced(call, {id(x): self._with_signals(x) for x in pixels}))
        else:
            shape = pixels[0].shape
            output = with_backward(call, lambda relevance: (relevance.sum_to_size(shape),), pixels[0])
        self.origins.add(start, None)
        for tensor in output if isinstance(output, list | tuple) else [output]:
            if carries(tensor):
                self.relevant.add(tensor.grad_fn)
        return output
