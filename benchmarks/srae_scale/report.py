"""Goals that the measurements are compared with, and the tables."""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.common import show
from benchmarks.rounds import ratio
from benchmarks.srae_scale.measures import Memory, Quality, Timing
from benchmarks.srae_scale.problem import BFLOAT16, FLOAT32, PLAIN, SHARED

WORSE = 0.0005
"""By how much the F_cls of a shared trunk may be below that of separate heads."""


class Goal(NamedTuple):
    """One line of the judgement."""

    name: str
    found: str
    wanted: str
    met: bool


def speedup(timings: Sequence[Timing], classes: int, way: str, over: str) -> float:
    """How often a way fits into the time of another: median over rounds of what was measured side by side."""
    return ratio({name: _one(timings, classes, name).whole for name in (way, over)}, over, way)


def speed_goals(timings: Sequence[Timing], epochs: int, trunk_epochs: int) -> list[Goal]:
    """Of the most classes that were timed.

    Args:
        timings: of all ways.
        epochs: that separate heads are given.
        trunk_epochs: that the shared trunk needs to be as faithful.
    """
    classes = max(timing.classes for timing in timings)
    pairs = ((FLOAT32, PLAIN, 1.1), (BFLOAT16, PLAIN, 2))
    goals = [
        _at_least(f"{classes}: speed of {way} over {over}", speedup(timings, classes, way, over), least)
        for way, over, least in pairs
    ]
    shared = speedup(timings, classes, SHARED, PLAIN)
    told = f"{classes}: speed of {SHARED} over {PLAIN}"
    return [
        *goals,
        _at_least(told, shared, 100),
        _at_least(f"{told}, {trunk_epochs} epochs : {epochs}", shared * epochs / trunk_epochs, 100),
    ]


def memory_goals(memories: Sequence[Memory], at_once: int) -> list[Goal]:
    """What stands beside the weights, of the most classes over the fewest that fill a group."""
    mine = sorted((one for one in memories if one.way == FLOAT32 and one.classes >= at_once), key=lambda o: o.classes)
    if len(mine) < 2:
        return []
    few, many = mine[0], mine[-1]
    growth = many.rest / few.rest
    name = f"memory beside weights, {many.classes} : {few.classes}"
    return [Goal(name, f"{growth:.2f}", "≤ 1.10", growth <= 1.1)]


def quality_goals(qualities: Sequence[Quality]) -> list[Goal]:
    """Differences of means over seeds, against the spread of separate heads in float32 between seeds."""
    goals = []
    for other in qualities:
        own = next((one for one in qualities if one.way == FLOAT32 and one.classes == other.classes), None)
        if own is None:
            continue
        if other.way == BFLOAT16:
            goals += [_equal(other, own, "F_reg", 3), _equal(other, own, "F_cls", 4)]
        if other.way == SHARED:
            goals.append(_no_worse(other, own))
    return goals


def _equal(other: Quality, own: Quality, name: str, digits: int) -> Goal:
    mine, others = (getattr(quality, name.lower()) for quality in (own, other))
    difference = abs(statistics.fmean(others) - statistics.fmean(mine))
    spread = max(mine) - min(mine)
    title = f"{own.classes}: {name} of {other.way}"
    found, wanted = f"{difference:.{digits}f} apart", f"≤ {spread:.{digits}f} (seeds)"
    return Goal(title, found, wanted, difference <= spread)


def _no_worse(other: Quality, own: Quality) -> Goal:
    least = statistics.fmean(own.f_cls) - WORSE
    found = statistics.fmean(other.f_cls)
    title = f"{own.classes}: F_cls of {other.way}"
    return Goal(title, f"{found:.4f}", f"≥ {least:.4f} (0.05 points)", found >= least)


def _at_least(name: str, found: float, least: float) -> Goal:
    return Goal(name, f"{found:.2f}", f"≥ {least:.1f}", found >= least)


def _one(timings: Sequence[Timing], classes: int, way: str) -> Timing:
    return next(timing for timing in timings if (timing.classes, timing.way) == (classes, way))


def show_timings(timings: Sequence[Timing], title: str) -> None:
    """What was measured, and what follows for all classes."""
    columns = ["C, way", "heads", "seconds", "least", "most", "all C", "which is", "speed"]
    rows = []
    for timing in timings:
        middle, least, most = (f"{of(timing.measured):.2f}" for of in (statistics.median, min, max))
        whole = f"{statistics.median(timing.whole):.1f}"
        told = "measured" if timing.factor == 1 else f"told, ×{timing.factor:.3g}"
        ratio = f"{speedup(timings, timing.classes, timing.way, PLAIN):.2f}×"
        name = f"{timing.classes}, {timing.way}"
        rows.append([name, str(timing.heads), middle, least, most, whole, told, ratio])
    show(f"Seconds of an epoch (medians), and speed over {PLAIN}; {title}", columns, rows)


def show_memories(memories: Sequence[Memory], title: str) -> None:
    """Weights and the rest."""
    rows = [
        [f"{one.classes}, {one.way}", *(f"{size / 1e6:.0f}" for size in (one.weights, one.rest, one.peak))]
        for one in memories
    ]
    show(
        f"MB that fitting all C heads takes, {title}",
        ["C, way", "weights", "rest", "peak"],
        rows,
    )


def show_qualities(qualities: Sequence[Quality]) -> None:
    """Means over seeds, and the spread."""
    rows = []
    for one in qualities:
        cells = [f"{statistics.fmean(v):.4f} ({max(v) - min(v):.4f})" for v in (one.f_reg, one.f_cls)]
        rows.append([f"{one.classes}, {one.way}", str(one.heads), str(one.epochs), *cells])
    columns = ["C, way", "heads", "epochs", "F_reg (spread)", "F_cls (spread)"]
    show("Faithfulness on held-out rows, mean over seeds", columns, rows)


def show_goals(goals: Sequence[Goal]) -> None:
    """Which are met."""
    if not goals:
        return
    rows = [[goal.name, goal.found, goal.wanted, "met" if goal.met else "not met"] for goal in goals]
    show("Goals", ["", "found", "wanted", ""], rows)
