"""Random states of the generators: kept over a block of code, also under threads."""

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch


class _KeptStates:
    """The generators are shared by all threads: where blocks overlap, the last to end puts back the states of the first."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = 0
        self.restores: list[Callable[[], None]] = []

    def enter(self, restore: Callable[[], None]) -> None:
        self.inside += 1
        self.restores.append(restore)

    def leave(self) -> None:
        with self.lock:
            self.inside -= 1
            if self.inside:
                return
            for restore in reversed(self.restores):
                restore()
            self.restores.clear()


_across_threads = _KeptStates()
_depths = threading.local()


@contextmanager
def random_states_kept(devices: Sequence[int] = (), *, every: bool = False) -> Iterator[None]:
    """Afterwards the random state of the CPU and of some CUDA devices is as before.

    Args:
        devices: numbers of CUDA devices.
        every: also keeps the states of Python's ``random`` and of NumPy.
    """
    if getattr(_depths, "value", 0):
        restore = _states(devices, every=every)
        try:
            yield
        finally:
            if _across_threads.inside == 1:
                restore()
        return
    with _across_threads.lock:
        _across_threads.enter(_states(devices, every=every))
    _depths.value = 1
    try:
        yield
    finally:
        _depths.value = 0
        _across_threads.leave()


def _states(devices: Sequence[int], *, every: bool) -> Callable[[], None]:
    """A function that puts back the present states."""
    cpu = torch.get_rng_state()
    cuda = [(device, torch.cuda.get_rng_state(device)) for device in devices]
    # Others draw from NumPy's global generator.
    own, arrays = (random.getstate(), np.random.get_state()) if every else (None, None)  # noqa: NPY002

    def restore() -> None:
        torch.set_rng_state(cpu)
        for device, state in cuda:
            torch.cuda.set_rng_state(state, device)
        if own is not None and arrays is not None:
            random.setstate(own)
            np.random.set_state(arrays)  # noqa: NPY002 - the same

    return restore
