"""Vector-Jacobian products from outputs back to pixels and layers, several over one graph."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from vitrine.attribution.base import checked_output


def send_back(output: Tensor, pixels: Tensor, starts: Iterable[Tensor]) -> Iterator[Tensor]:
    """What arrives at the pixels, one backward pass a start. The last one frees the graph on its way, which saves time.

    Args:
        output: (B, n, …), the end of a graph that begins at ``pixels``.
        pixels: (B, C, H, W).
        starts: tensors of the output's shape.

    Yields:
        (B, C, H, W) each.
    """
    waiting = iter(starts)
    start = next(waiting, None)
    while start is not None:
        following = next(waiting, None)
        (arrived,) = torch.autograd.grad(
            output, pixels, start, retain_graph=following is not None, materialize_grads=True
        )
        yield arrived
        start = following


def one_hot(output: Tensor, units: Tensor) -> Tensor:
    """1 at the units (B,) of a (B, n, …) output, over all of their places; 0 elsewhere."""
    chosen = F.one_hot(units, output.shape[1]).to(output)
    return chosen.view(*output.shape[:2], *[1] * (output.ndim - 2)).expand_as(output)


class Visit(NamedTuple):
    """One call of a submodule."""

    position: int
    """Among the calls of a trace."""
    layer: str
    """Its dotted name."""
    shape: torch.Size
    """Of its output."""
    edge: GradientEdge
    """Where in the graph its output is, whatever is done to the tensor in place afterwards."""


class ForwardTrace(NamedTuple):
    """A forward pass of one input, and its graph."""

    size: torch.Size
    """(C, H, W) of the input."""
    visits: list[Visit]
    """The calls that gave a tensor (1, …) which depends on the input."""
    logits: Tensor
    """(1, n)."""

    def last_of_each(self) -> list[Visit]:
        """The last call of every layer, in order."""
        last = {visit.layer: visit for visit in self.visits}
        return sorted(last.values(), key=lambda visit: visit.position)


def forward_trace(model: nn.Module, inputs: Tensor) -> ForwardTrace:
    """Runs a model behind glass on one input of noise, the same at every call.

    Args:
        model: maps (B, C, H, W) inputs to (B, n) logits.
        inputs: (B, C, H, W); their values are not used.

    Raises:
        ValueError: where the model gives something else, or what no gradient leads back from.
    """
    visits: list[Visit] = []
    handles = [module.register_forward_hook(_recorder(visits, name)) for name, module in model.named_modules() if name]
    try:
        with torch.enable_grad():
            pixels = noise((1, *inputs.shape[1:]), inputs).requires_grad_()
            logits = checked_output(model(pixels.clone()), 1, None)  # a leaf may not be changed in place
    finally:
        for handle in handles:
            handle.remove()
    if not logits.requires_grad:
        raise ValueError(f"No gradient leads from the logits of {type(model).__name__} back to its inputs.")
    return ForwardTrace(inputs.shape[1:], visits, logits)


def noise(shape: Sequence[int], like: Tensor) -> Tensor:
    """Standard normal numbers that are always the same, with the type and device of another tensor."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(like)


def sent_back(start: Tensor | GradientEdge, end: GradientEdge, signal: Tensor) -> Tensor | None:
    """What arrives at the end of a way through the graph; None where no way leads there from the start."""
    edge = get_gradient_edge(start) if isinstance(start, Tensor) else start
    (arrived,) = torch.autograd.grad([edge], [end], [signal], retain_graph=True, allow_unused=True)
    return arrived


def _recorder(visits: list[Visit], name: str) -> Any:
    def record(_module: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.requires_grad and output.shape[:1] == (1,):
            visits.append(Visit(len(visits), name, output.shape, get_gradient_edge(output)))

    return record
