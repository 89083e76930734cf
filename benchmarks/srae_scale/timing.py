"""Seconds of an epoch, ways in turn."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from benchmarks.srae_scale.ours import fit_ours, made_module
from benchmarks.srae_scale.plain import fit_plain, made_heads
from benchmarks.srae_scale.problem import Batches, made_problem
from benchmarks.srae_scale.settings import PLAIN, SHARED, Settings


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
