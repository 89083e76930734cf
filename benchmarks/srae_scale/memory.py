"""The most memory that fitting takes, each way in a process of its own."""

import multiprocessing
import re
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from benchmarks.srae_scale.ours import fit_ours, made_module
from benchmarks.srae_scale.plain import fit_plain, made_heads
from benchmarks.srae_scale.problem import Batches, made_problem
from benchmarks.srae_scale.settings import PLAIN, Settings

STEPS = 2
"""Of each head: the second one has gradients, moments and activations all at once, as every later one has."""


@dataclass
class Memory:
    """Bytes that fitting heads of all C classes adds to a process that has the data already."""

    way: str
    classes: int
    weights: int
    """Of all heads, in float32."""
    peak: int

    @property
    def rest(self) -> int:
        """Gradients, moments, activations and what the allocator keeps."""
        return self.peak - self.weights


def memory_of(way: str, classes: int, settings: Settings) -> Memory:
    """In a new process, as memory that an earlier fit has left behind would hide what this one takes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # libraries are loaded once, before a process is one's own
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        return pool.submit(_memory_here, way, classes, settings, torch.get_num_threads()).result()


def _memory_here(way: str, classes: int, settings: Settings, threads: int) -> Memory:
    torch.set_num_threads(threads)
    batches = Batches(made_problem(settings, classes).train, settings, steps=STEPS)
    before = _restarted_peak(settings.device)
    if way == PLAIN:
        heads = made_heads(classes, settings)
        fit_plain(heads, range(classes), batches, settings)
        weights = sum(map(_bytes, heads))
    else:
        module = made_module(way, classes, range(classes), settings)
        fit_ours(module, way, batches, settings)
        weights = _bytes(module.explainer)
    return Memory(way, classes, weights, _peak(settings.device) - before)


def _bytes(module: nn.Module) -> int:
    return sum(parameter.nbytes for parameter in module.parameters())


def _restarted_peak(device: str) -> int:
    """Forgets the peak so far, and gives what is taken now."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _peak(device)


def _peak(device: str) -> int:
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    if found is None:
        raise ValueError("/proc/self/status has no VmHWM; measure memory on Linux, or leave it out by --skip memory.")
    return int(found[1]) * 1024
