"""Measures of a fit: seconds of an epoch, peak memory of a process of its own, and faithfulness on held-out samples."""

import multiprocessing
import re
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.srae_scale.fitting import fit_ours, fit_plain, made_heads, made_module
from benchmarks.srae_scale.problem import PLAIN, SHARED, Batches, Problem, Settings, made_problem
from vitrine.metrics.functional import absolute_difference, decision_kept


@dataclass
class Timing:
    """Seconds a round of one way; what stands for all C classes is the measured heads' time × C / heads."""

    way: str
    classes: int
    heads: int
    measured: list[float] = field(default_factory=list)

    @property
    def factor(self) -> float:
        """All classes over those measured."""
        return self.classes / self.heads

    @property
    def whole(self) -> list[float]:
        """An epoch of all classes."""
        return [seconds * self.factor for seconds in self.measured]


def timings_of(
    classes: int, ways: Sequence[str], settings: Settings, *, rounds: int, epochs: int, warm: int, full: bool
) -> list[Timing]:
    """Rounds of all ways, one after the other, each round beginning with another way.

    Args:
        classes: C.
        ways: to fit heads.
        settings: sizes.
        rounds: how often.
        epochs: whole passes a round, of which the mean counts.
        warm: batches before them that do not count.
        full: whether heads of all classes are fitted, and not of one group.
    """
    train = made_problem(settings, classes).train
    group = classes if full else min(classes, settings.at_once)
    timings = [Timing(way, classes, classes if way == SHARED else group) for way in ways]
    for number in range(rounds):
        for timing in timings[number % len(timings) :] + timings[: number % len(timings)]:
            batches = Batches(train, settings, epochs, warm)
            timing.measured.append(seconds_of(timing.way, classes, timing.heads, batches, settings) / epochs)
    return timings


def seconds_of(way: str, classes: int, heads: int, batches: Batches, settings: Settings) -> float:
    """Fits the first heads of C classes from new weights; seconds of whole passes."""
    torch.manual_seed(settings.seed)
    if way == PLAIN:
        return fit_plain(made_heads(heads, settings), range(heads), batches, settings)
    return fit_ours(made_module(way, classes, range(heads), settings), way, batches, settings)


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


@dataclass
class Quality:
    """F_reg and F_cls of the first heads of C classes; lists have a number a seed."""

    way: str
    classes: int
    heads: int
    epochs: int
    f_reg: list[float] = field(default_factory=list)
    f_cls: list[float] = field(default_factory=list)


def quality_of(way: str, classes: int, heads: int, settings: Settings, *, epochs: int, seeds: Sequence[int]) -> Quality:
    """Of heads that are fitted for some epochs; of a shared trunk, all classes are, and the first ones measured."""
    found = Quality(way, classes, heads, epochs)
    problem = made_problem(settings, classes)
    for seed in seeds:
        torch.manual_seed(seed)
        estimates = _estimates(way, classes, heads, problem, Batches(problem.train, settings, epochs), settings)
        arguments = (estimates, problem.held_out.logits, torch.arange(heads, device=settings.device))
        found.f_reg.append(float(absolute_difference(*arguments).mean()))
        found.f_cls.append(float(decision_kept(*arguments).float().mean()))
    return found


def _estimates(way: str, classes: int, heads: int, problem: Problem, batches: Batches, settings: Settings) -> Tensor:
    """(held-out, heads)."""
    features = problem.held_out.features
    if way == PLAIN:
        plain = made_heads(heads, settings)
        fit_plain(plain, range(heads), batches, settings)
        with torch.no_grad():
            return torch.stack([head(features)[2] for head in plain], dim=1)
    module = made_module(way, classes, range(classes if way == SHARED else heads), settings)
    fit_ours(module, way, batches, settings)
    with torch.no_grad():
        return module.heads.to(settings.device).estimates(features)[:, :heads]
