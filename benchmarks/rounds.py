"""Timing things side by side: each round runs all of them, and a ratio is the median of the rounds' ratios."""

import statistics
import time
from collections.abc import Callable, Mapping

import torch
from rich.console import Console
from rich.progress import track

Run = Callable[[], object]
Seconds = dict[str, list[float]]
"""Of each thing, in each counted round."""


def now(device: str = "cpu") -> float:
    """Seconds of a clock, after what is queued on a device has ended."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter()


def side_by_side(
    runs: Mapping[str, Run],
    rounds: int,
    device: str = "cpu",
    title: str = "rounds",
    before: Run = lambda: None,
) -> Seconds:
    """Seconds of each run in each round, after one round that is not counted; each round begins with another run.

    Args:
        runs: what is timed, by name.
        rounds: that are counted.
        device: whose queue a run has to end before its time is taken.
        title: of the progress bar on the standard error stream.
        before: what is done before each run, and not timed.
    """
    names, times = list(runs), {name: list[float]() for name in runs}
    for number in track(range(rounds + 1), title, console=Console(stderr=True), transient=True):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            before()
            began = now(device)
            runs[name]()
            taken = now(device) - began
            if number:
                times[name].append(taken)
    return times


def ratio(times: Mapping[str, list[float]], name: str, over: str) -> float:
    """The time of one thing over that of another: the median over rounds of what was taken side by side."""
    return statistics.median(one / other for one, other in zip(times[name], times[over], strict=True))
