"""What is found out about a network once, by passes of its own, and kept until its layers are others."""

from collections.abc import Callable, Hashable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from torch import nn

Found = TypeVar("Found")

_known: WeakKeyDictionary[nn.Module, tuple[tuple[Any, ...], dict[Hashable, tuple[Hashable, Any]]]] = WeakKeyDictionary()


def known_once(model: nn.Module, key: Hashable, find: Callable[[], Found], state: Hashable = None) -> Found:
    """What ``find`` gives, kept for the model and the key until a module is replaced or has another window.

    Args:
        model: the network.
        key: of what is asked, such as the size of the inputs.
        find: runs where the answer is not known; if it raises, nothing is kept.
        state: what else the answer rests on; one that was kept for another state is dropped.
    """
    present = tuple((id(module), type(module), *_windows(module)) for module in model.modules())
    known = _known.get(model)
    if known is None or known[0] != present:
        known = _known[model] = (present, {})
    if key not in known[1] or known[1][key][0] != state:
        known[1][key] = state, find()
    found: Found = known[1][key][1]
    return found


def _windows(module: nn.Module) -> tuple[Any, ...]:
    return tuple(vars(module).get(name) for name in ("kernel_size", "stride", "padding", "dilation"))
