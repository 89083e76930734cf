"""Outputs of a layer noted in a forward pass: values, and their place in the graph."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge


class NotedOutput(NamedTuple):
    """What a layer gave in a forward pass."""

    layer: str
    edge: GradientEdge
    """Its place in the graph, which a following in-place operator does not move."""
    values: Tensor
    """A detached copy."""


@contextmanager
def noted(model: nn.Module, layer: str) -> Iterator[list[NotedOutput]]:
    """A context in which forward passes note what a layer gives, if it is part of their graph: the last call counts."""
    found: list[NotedOutput] = []

    def note(_module: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.requires_grad:
            found[:] = [NotedOutput(layer, get_gradient_edge(output), output.detach().clone())]

    handle = model.get_submodule(layer).register_forward_hook(note)
    try:
        yield found
    finally:
        handle.remove()
