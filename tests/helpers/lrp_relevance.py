"""Relevance of a function's input by LRP, from relevance of its output, to test single operators."""

from collections.abc import Callable

import torch
from torch import Tensor

from vitrine.attribution.lrp.composites import Composite, composite_named
from vitrine.attribution.lrp.propagation import propagating, propagation

PLAIN = composite_named("epsilon", epsilon=0.0)


def relevance(function: Callable[[Tensor], Tensor], x: Tensor, of: Tensor, composite: Composite = PLAIN) -> Tensor:
    """Relevance of x from relevance ``of`` the output."""
    with propagating("cpu"):
        passed, _ = propagation(lambda image: (function(image), None), x, composite)
        signal = torch.where(passed.output == 0, 0, of / passed.output.detach())
        (found,) = torch.autograd.grad(passed.output, passed.pixels, signal)
    return found


def random(*shape: int) -> Tensor:
    """Normal numbers in float64."""
    return torch.randn(*shape, dtype=torch.double)
