"""Loss scaling: gradients of networks in float16, whose values would underflow, scaled up on the way and down at the end."""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge

from vitrine.attribution.autograd.interception import walk
from vitrine.core.precision import in_full

HIGHEST, STEP, LOWEST = 2.0**12, 2.0**4, 2.0**-12
"""Scales: of the first pass, from one pass to the next where values overflow, and of the last one."""

KNOWN = "vitrine: has float16"
"""Key of what is known of the graph below a node, in its metadata."""


def scaled_gradients(
    outputs: Sequence[Tensor] | Sequence[GradientEdge],
    inputs: Sequence[Tensor] | Sequence[GradientEdge],
    cotangents: Sequence[Tensor],
    *,
    retain_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Tensor, ...]:
    """`torch.autograd.grad`, with loss scaling where float16 is on the way; float16 gives float32 then.

    The smallest number of float16 is 6e-8, and a logit's gradient at one of 512 × 512 pixels is often less.

    Args:
        outputs: as in `torch.autograd.grad`.
        inputs: as there.
        cotangents: one for each output.
        retain_graph: as there.
        allow_unused: as there: None for inputs that no output depends on; otherwise they are errors.
    """

    def gradients(scale: float, *, retain: bool) -> tuple[Tensor, ...]:
        scaled = cotangents if scale == 1 else [cotangent * scale for cotangent in cotangents]
        return torch.autograd.grad(outputs, inputs, scaled, retain_graph=retain, allow_unused=allow_unused)

    if not any(map(has_float16, outputs)) or not all(bool(c.isfinite().all()) for c in cotangents):
        return gradients(1, retain=retain_graph)
    return descaled(lambda scale: gradients(scale, retain=True))


def descaled(gradients: Callable[[float], Sequence[Tensor | None]]) -> tuple[Tensor, ...]:
    """Gradients by the largest scale at which they are finite, each element by its own, divided by that scale again.

    Args:
        gradients: computes them times a scale, a power of two.

    Returns:
        Tensors in float32 or wider. What is not finite at the lowest scale either stays so.
    """
    scale = HIGHEST
    results = [None if g is None else in_full(g) / scale for g in gradients(scale)]
    while scale > LOWEST and not all(g is None or bool(g.isfinite().all()) for g in results):
        scale /= STEP
        results = [
            None if r is None or g is None else r.where(r.isfinite(), in_full(g) / scale)
            for r, g in zip(results, gradients(scale), strict=True)
        ]
    return tuple(results)  # type: ignore[arg-type]  # None only where torch's own type has none either


def has_float16(output: Tensor | GradientEdge) -> bool:
    """Whether a value in float16 is in the graph of an output, also if the output itself is wider (autocast, a cast)."""
    root: Node | None = get_gradient_edge(output).node if isinstance(output, Tensor) else output.node
    if root is None:
        return False
    known = cast(dict[str, bool], root.metadata)  # torch declares it as a method
    if KNOWN not in known:  # asked for each of several backward passes
        # One of each output of a node, whose type the gradient that arrives there has; torch has no public name for it.
        known[KNOWN] = any(
            metadata.dtype == torch.float16
            for node in walk([root])
            for metadata in getattr(node, "_input_metadata", ())
        )
    return known[KNOWN]
