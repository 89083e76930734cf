"""The tables."""

import statistics
from collections.abc import Sequence

from benchmarks.common import show
from benchmarks.srae_scale.goals import Goal, speedup
from benchmarks.srae_scale.memory import Memory
from benchmarks.srae_scale.quality import Quality
from benchmarks.srae_scale.settings import PLAIN
from benchmarks.srae_scale.timing import Timing


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
