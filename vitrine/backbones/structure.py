"""Structure of a network in memory: its modules and their settings, by which a change since an earlier call is noticed."""

from typing import Any

import torch
from torch import Tensor, nn

from vitrine.backbones import written_state
from vitrine.backbones.outputs import LogitsHook

_OF_EVERY_MODULE = frozenset(vars(nn.Module())) - {"training"}
"""Attributes that say nothing of what a module computes, such as its hooks, or are compared in another way."""
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def structure(model: nn.Module) -> tuple[Any, ...]:
    """What a network's structure is compared by: equal for one network until something but the values of weights changes.

    It holds for each module under each of its names which one it is, its class, its plain attributes (numbers, texts, flags,
    and lists of these), which other objects its attributes are, and which parameters and buffers it has, of which type.

    Args:
        model: the network. It is not kept alive.
    """
    if isinstance(model, torch.jit.ScriptModule):
        return (id(model),)
    return tuple(
        (name, id(module), type(module), *_settings(module))
        for name, module in model.named_modules(remove_duplicate=False)
    )


def _settings(module: nn.Module) -> list[Any]:
    attributes = vars(module)
    settings = [(name, _comparable(value)) for name, value in attributes.items() if name not in _OF_EVERY_MODULE]
    for table in ("_parameters", "_buffers"):
        tensors = attributes.get(table, {})
        settings += [(name, None if tensor is None else tensor.dtype) for name, tensor in tensors.items()]
    return settings


def _comparable(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str | type):
        return value
    if isinstance(value, list | tuple):
        return tuple(map(_comparable, value))
    if isinstance(value, dict):
        return tuple((_comparable(key), _comparable(one)) for key, one in value.items())
    return None if isinstance(value, Tensor) else id(value)  # a forward pass may keep its results in attributes


def has_hooks(module: nn.Module) -> bool:
    """Whether a module has hooks of its owner; those that the guard and the choice of the output put on it do not count."""
    return any(not _is_own(hook) for name in _HOOKS for hook in getattr(module, name).values())


def _is_own(hook: Any) -> bool:
    return isinstance(hook, LogitsHook) or getattr(hook, "__module__", None) == written_state.__name__
