"""Flags and tensors that are plain attributes of modules, and that a forward pass sets: put back afterwards."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from vitrine.backbones.model_parts import OF_EVERY_MODULE


class PlainAttributes:
    """The flags (True, False, None) and tensors among the plain attributes of modules, as they are now.

    A layer may note in a flag that its first batch has set a scale: where the scale is put back, so has the flag to be.
    Counters, texts, lists and other objects are left alone, as they are there to be read after a call.

    Args:
        modules: whose attributes may change; the layers of torch.nn, which set none, are passed over.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        own = [module for module in modules if not type(module).__module__.startswith("torch.nn.")]
        self.before = [(module, _plain(module)) for module in own]

    @property
    def tensors(self) -> list[Tensor]:
        """Those whose values may be written to: none that is part of a graph."""
        values = [value for _, entries in self.before for value in entries.values() if isinstance(value, Tensor)]
        return list({id(one): one for one in values if one.is_leaf and not one.requires_grad}.values())

    def put_back(self) -> bool:
        """Gives modules the attributes that they had; returns whether any differed."""
        moved = [(module, before) for module, before in self.before if not _same(_plain(module), before)]
        for module, before in moved:
            for name in _plain(module).keys() - before.keys():
                del module.__dict__[name]
            module.__dict__.update(before)
        return bool(moved)


def _plain(module: nn.Module) -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(module).items()
        if name not in OF_EVERY_MODULE and (value is None or isinstance(value, bool | Tensor))
    }


def _same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return first.keys() == second.keys() and all(value is second[name] for name, value in first.items())
