"""Locks of models: threads that use the same modules take turns."""

import itertools
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from weakref import WeakKeyDictionary

from torch import nn

_registry = threading.Lock()
_numbers = itertools.count()


class _ModelLock:
    """A reentrant lock with a place in an order, in which several are taken."""

    def __init__(self) -> None:
        self.number = next(_numbers)
        self.lock = threading.RLock()


_locks: WeakKeyDictionary[nn.Module, _ModelLock] = WeakKeyDictionary()
"""Kept beside the modules, as a lock within them could be neither copied nor pickled."""


@contextmanager
def model_lock(model: nn.Module) -> Iterator[None]:
    """Within it no other thread is within the lock of a model that shares a module with this one.

    Hooks, modes and ``requires_grad`` are state of the modules: two threads that set them at once would see each other's
    outputs, and put back each other's state. A thread can take the lock of a model again, and those of its parts.

    Args:
        model: whose modules are used.
    """
    with ExitStack() as taken:
        for one in _locks_of(model):
            taken.enter_context(one.lock)
        yield


def _locks_of(model: nn.Module) -> list[_ModelLock]:
    """The locks of all modules, in their order, so that no two threads wait for each other; modules without one get one."""
    with _registry:
        modules = list(model.modules())
        found = {id(lock): lock for lock in map(_locks.get, modules) if lock is not None}
        locks = sorted(found.values(), key=lambda lock: lock.number) or [_ModelLock()]
        for module in modules:
            _locks.setdefault(module, locks[0])
    return locks
