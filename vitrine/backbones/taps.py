"""Taps: the outputs of named layers, collected during a forward pass."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vitrine.backbones.compiled import check_layers_are_seen, plain_name
from vitrine.core.near_names import near_names


@contextmanager
def captured(model: nn.Module, layers: Sequence[str], clone: bool = True) -> Iterator[dict[str, Tensor]]:
    """Collects the outputs of named layers during the forward passes that this thread makes within it.

    A layer that is called several times keeps its last output. Passes that the backward pass of a checkpointed network
    repeats are left out.

    Args:
        model: the network that the forward passes go through.
        layers: dotted names of its submodules; a module that stands in the network twice has two names.
        clone: whether outputs are copied, so that a following in-place operator does not change them.

    Yields:
        A dict that fills with the outputs by name. They are part of the autograd graph where there is one.

    Raises:
        ValueError: for an unknown layer, one whose output is not a tensor, and one that no forward pass went through.
    """
    if layers:
        check_layers_are_seen(model, f"Layer {layers[0]!r}: a tap")
    modules = dict(model.named_modules(remove_duplicate=False))
    outputs: dict[str, Tensor] = {}
    handles: list[RemovableHandle] = []
    try:
        for name in layers:
            if plain_name(name) not in modules:
                raise ValueError(_unknown_layer(name, modules))
            handles.append(modules[plain_name(name)].register_forward_hook(_keeper(outputs, name, clone=clone)))
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
    missed = [name for name in layers if name not in outputs]
    if missed:
        raise ValueError(f"Layer {missed[0]!r} gave no output: the forward pass did not go through it.")


def _keeper(outputs: dict[str, Tensor], name: str, *, clone: bool) -> Any:
    thread = threading.get_ident()

    def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
        if threading.get_ident() != thread or torch._C._current_graph_task_id() != -1:  # noqa: SLF001 - in a backward pass
            return
        if not isinstance(output, Tensor):
            raise ValueError(f"Layer {name!r} gives a {type(output).__name__}, not a tensor; choose a layer within it.")
        outputs[name] = output.clone() if clone else output

    return keep


def resolve_layer(model: nn.Module, layer: str | nn.Module) -> str:
    """The dotted name of a layer.

    Args:
        model: the network.
        layer: a dotted name, or one of the network's submodules.

    Returns:
        The name as in ``model.named_modules()``; the first one of a module that has several.

    Raises:
        ValueError: where the model has no such layer, with the closest names.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    if isinstance(layer, str):
        if plain_name(layer) not in modules:
            raise ValueError(_unknown_layer(layer, modules))
        layer = modules[plain_name(layer)]
    for name, module in modules.items():
        if module is layer:
            return str(name)
    raise ValueError(f"The given {type(layer).__name__} is not a submodule of the {type(model).__name__}.")


def _unknown_layer(name: str, modules: dict[str, nn.Module]) -> str:
    known = [known for known in modules if known]
    near = near_names(name, known)
    return f"The model has no layer {name!r}; near names: {', '.join(near) or '(it has no submodules)'}."
