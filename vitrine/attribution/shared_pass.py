"""Forward passes that several methods, or several parts of a method, go back through."""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from torch import Tensor

from vitrine.attribution.autograd.gating import GatingInterception
from vitrine.attribution.autograd.gradient_flow import differentiating, leads_to
from vitrine.attribution.autograd.switched_rectifiers import CannotBeSwitched, SwitchedRectifiers
from vitrine.attribution.base import Method, SharedPass, checked_output

CANNOT_SHARE = (CannotBeSwitched, ValueError, LookupError)
"""What a shared pass and the maps read off it raise where methods have to run by themselves."""


def shared_pass(methods: Mapping[str, Method], inputs: Tensor) -> tuple[SharedPass, dict[str, Any]]:
    """One forward pass, and what the reader of each method saw of it; within `eval_guard`.

    Args:
        methods: of one model, that have readers.
        inputs: (B, C, H, W).

    Raises:
        CannotBeSwitched: for a rectifier whose backward pass cannot be chosen later, or a network without one.
        ValueError: if a gradient of the graph is not right, or none leads back to the pixels.
    """
    model, rectifiers = next(iter(methods.values())).model, SwitchedRectifiers()
    readers = {name: method.reader(inputs) for name, method in methods.items()}
    is_rectified = any(method.rectifies for method in methods.values())
    with differentiating(model), ExitStack() as stack:
        gating = GatingInterception(rectifiers.rules(), "A shared pass") if is_rectified else None
        if gating is not None:
            stack.enter_context(gating)
        seen = {name: stack.enter_context(reader) for name, reader in readers.items() if reader is not None}
        pixels = inputs.clone().requires_grad_()
        logits = checked_output(model(pixels.clone()), len(inputs), None)
    if not leads_to(logits, pixels):
        raise ValueError("No gradient leads from the logits back to the pixels.")
    if gating is not None:
        gating.check(logits)
        if not gating.applied:
            raise CannotBeSwitched
    return SharedPass(pixels, logits, rectifiers.by_rule), seen
