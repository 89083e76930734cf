"""Outputs of a layer noted in a forward pass: values, and their place in the graph."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from vitrine.attribution.autograd.calls import tensors_in


class NotedOutput(NamedTuple):
    """What a layer gave in a forward pass."""

    layer: str
    edge: GradientEdge
    """Its place in the graph, which a following in-place operator does not move."""
    values: Tensor
    """A detached copy."""


@contextmanager
def noted(model: nn.Module, layer: str, *, own: bool = False) -> Iterator[list[NotedOutput]]:
    """A context in which forward passes note what a layer gives, if it is part of their graph: the last call counts.

    Args:
        model: the network.
        layer: dotted name.
        own: whether a layer that gives what it was given, such as a dropout in eval mode, notes nothing: its place in the
            graph is that of its input, at which the gradients of other ways arrive too.
    """
    found: list[NotedOutput] = []
    given: list[tuple[Any, int]] = []

    def before(_module: nn.Module, args: Any, kwargs: Any) -> None:  # an in-place layer moves its input's place
        edges = (get_gradient_edge(one) for one in tensors_in((args, kwargs)) if one.requires_grad)
        given[:] = [(edge.node, edge.output_nr) for edge in edges]

    def note(_module: nn.Module, _inputs: Any, output: Any) -> None:
        if not isinstance(output, Tensor) or not output.requires_grad:
            return
        edge = get_gradient_edge(output)
        is_given = (edge.node, edge.output_nr) in given
        found[:] = [] if own and is_given else [NotedOutput(layer, edge, output.detach().clone())]

    module = model.get_submodule(layer)
    handles = [module.register_forward_pre_hook(before, with_kwargs=True), module.register_forward_hook(note)]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
