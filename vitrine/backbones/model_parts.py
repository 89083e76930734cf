"""Modules, parameters and buffers of a model, from one walk over it."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

OF_EVERY_MODULE = frozenset(vars(nn.Module()))
"""Names of the attributes that every module has, such as its mode and its hooks."""


class ModelParts(NamedTuple):
    """What a model is made of, each once, in the order of its modules.

    Walks over a large network take as long as its small layers, and what guards a model asks for all of this.
    """

    modules: list[nn.Module]
    parameters: list[nn.Parameter]
    buffers: list[Tensor]

    @property
    def plain_modules(self) -> list[nn.Module]:
        """Those that are no ScriptModules, whose tables of tensors are copies."""
        return [module for module in self.modules if not isinstance(module, torch.jit.ScriptModule)]


def parts_of(model: nn.Module) -> ModelParts:
    """Walks over a model.

    Example:
        >>> parts = parts_of(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
        >>> len(parts.modules), len(parts.parameters), len(parts.buffers)
        (3, 4, 3)
    """
    modules = list(model.modules())
    if any(isinstance(module, torch.jit.ScriptModule) for module in modules):
        return ModelParts(modules, list(model.parameters()), list(model.buffers()))
    parameters = _each_once(tensor for module in modules for tensor in module._parameters.values())  # noqa: SLF001
    buffers = _each_once(tensor for module in modules for tensor in module._buffers.values())  # noqa: SLF001
    return ModelParts(modules, parameters, buffers)  # type: ignore[arg-type]


def _each_once(tensors: Iterable[Tensor | None]) -> list[Tensor]:
    return list({id(tensor): tensor for tensor in tensors if tensor is not None}.values())
