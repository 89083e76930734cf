"""Vector-Jacobian products (VJPs) from outputs to pixels and layers, several over one graph."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge

from vitrine.attribution.autograd.gradient_flow import REMEDY, check_gradient, differentiating
from vitrine.attribution.autograd.interception import walk
from vitrine.attribution.autograd.loss_scaling import scaled_gradients
from vitrine.attribution.base import checked_output
from vitrine.backbones.compiled import check_layers_are_seen
from vitrine.backbones.image_sizes import blank_image


def vjps(
    output: Tensor, inputs: Tensor | GradientEdge, cotangents: Iterable[Tensor], *, keep: bool = False
) -> Iterator[Tensor]:
    """The VJP of each cotangent, by one backward pass each; the last pass frees the graph on its way, which saves time.

    Args:
        output: (B, n, …), the end of a graph that begins at ``inputs``.
        inputs: (B, C, H, W), or an edge of the graph.
        cotangents: tensors of the output's shape.
        keep: whether the graph stays alive, for others that need it.

    Yields:
        (B, C, H, W) for each cotangent, in float32 where float16 is on the way.

    Raises:
        ValueError: where no gradient arrives at the inputs. One of zeros does.
    """
    start, end = (get_gradient_edge(one) if isinstance(one, Tensor) else one for one in (output, inputs))
    remaining = iter(cotangents)
    cotangent = next(remaining, None)
    while cotangent is not None:
        following = next(remaining, None)
        retain = keep or following is not None
        (vjp,) = scaled_gradients([start], [end], [cotangent], retain_graph=retain, allow_unused=True)
        if vjp is None:
            raise ValueError(
                "No gradient leads from the output back to its inputs: it does not depend on them, or the backward pass of"
                f" an operator gives None; {REMEDY}."
            )
        yield vjp
        cotangent = following


def arriving_vjps(
    output: Tensor, inputs: Tensor, cotangents: Iterable[Tensor], check: Callable[[], None], *, keep: bool = False
) -> Iterator[Tensor]:
    """`vjps`, of which a network that no gradient leads through gives none.

    Args:
        output: as in `vjps`.
        inputs: as in `vjps`.
        cotangents: as in `vjps`.
        check: finds by a walk over the graph whether a gradient leads to the inputs, and raises ValueError with the cause
            where none does; called where nothing but zeros has arrived, as a gradient of other values has found its way.
        keep: as in `vjps`.
    """
    if not output.requires_grad:
        check()
    arrived = False
    try:
        for vjp in vjps(output, inputs, cotangents, keep=keep):
            arrived = arrived or bool(vjp.any())
            yield vjp
    except (ValueError, RuntimeError):  # the latter of operators without a backward pass
        check()
        raise
    if not arrived:
        check()


def vjp_at(output: Tensor | GradientEdge, edge: GradientEdge, cotangent: Tensor) -> Tensor | None:
    """The VJP at an edge of the graph, which stays alive; None if the output does not depend on it."""
    start = get_gradient_edge(output) if isinstance(output, Tensor) else output
    (vjp,) = scaled_gradients([start], [edge], [cotangent], retain_graph=True, allow_unused=True)
    return vjp


def one_hot(output: Tensor, indices: Tensor) -> Tensor:
    """1 at the indices (B,) of a (B, n, …) output, at all of their places; 0 elsewhere."""
    encoded = F.one_hot(indices, output.shape[1]).to(output)
    return encoded.view(*output.shape[:2], *[1] * (output.ndim - 2)).expand_as(output)


class Visit(NamedTuple):
    """One call of a submodule in a forward pass."""

    position: int
    """The number of the call in its trace."""
    layer: str
    """Dotted name of the submodule."""
    shape: torch.Size
    """Shape of its output."""
    edge: GradientEdge
    """Its output in the graph, which later in-place changes of the tensor do not move."""


class ForwardTrace(NamedTuple):
    """A forward pass of one input, and its graph."""

    size: torch.Size
    """(C, H, W) of the input."""
    visits: list[Visit]
    """The calls that gave a tensor (1, …) that depends on the input, in order."""
    logits: Tensor
    """(1, n)."""
    pixels: Visit
    """The input itself, before all calls; it has no name."""

    def nodes(self) -> Iterator[Node]:
        """The nodes of the graph that the logits depend on."""
        return walk([get_gradient_edge(self.logits).node])

    def last_of_each(self) -> list[Visit]:
        """The last call of every layer, in order."""
        last = {visit.layer: visit for visit in self.visits}
        return sorted(last.values(), key=lambda visit: visit.position)


def forward_trace(model: nn.Module, inputs: Tensor) -> ForwardTrace:
    """Runs a model under `eval_guard` on one input of noise, the same at every call.

    Args:
        model: maps (B, C, H, W) inputs to (B, n) logits.
        inputs: (B, C, H, W); their values are not used.

    Raises:
        ValueError: if the model gives something else, or logits that no gradient leads back from.
    """
    check_layers_are_seen(model, "What asks for the layers of a forward pass")
    visits: list[Visit] = []
    handles = [module.register_forward_hook(_recorder(visits, name)) for name, module in model.named_modules() if name]
    try:
        with differentiating(model):
            pixels = noise((1, *inputs.shape[1:]), inputs).requires_grad_()
            given = pixels.clone()  # a leaf may not be changed in place
            start = Visit(-1, "", given.shape, get_gradient_edge(given))
            logits = checked_output(model(given), 1, None)
    finally:
        for handle in handles:
            handle.remove()
    check_gradient(logits, pixels, model)
    return ForwardTrace(inputs.shape[1:], visits, logits, start)


def zero_input(model: nn.Module, size: Sequence[int]) -> Tensor:
    """(1, *size) zeros, of the type and on the device of the model's parameters."""
    like = next((parameter for parameter in model.parameters() if parameter.is_floating_point()), torch.empty(0))
    return torch.zeros(1, *size, dtype=like.dtype, device=like.device)


def noise(shape: Sequence[int], like: Tensor) -> Tensor:
    """Standard normal numbers, the same at every call, with the type and device of another tensor."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(like)


def noise_image(model: nn.Module, side: int) -> Tensor:
    """(1, C, S, S) noise, S = side, as a network takes images (see `blank_image`); the same at every call."""
    blank = blank_image(model, side)
    return noise(blank.shape, blank)


def _recorder(visits: list[Visit], name: str) -> Any:
    def record(_module: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.requires_grad and output.shape[:1] == (1,):
            visits.append(Visit(len(visits), name, output.shape, get_gradient_edge(output)))

    return record
