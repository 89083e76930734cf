"""Ratios of many SRAE heads for the regression guard: one class after the other over each way of fitting them together."""

from collections.abc import Mapping

from benchmarks.srae_scale.measures import timings_of
from benchmarks.srae_scale.problem import PLAIN, WAYS, Settings
from benchmarks.srae_scale.report import speedup

SMALL = Settings(features=1024, hidden=(200, 50), trunk_hidden=(200, 100), rows=256, held_out=1, at_once=8)
CLASSES = 32


def smoke() -> Mapping[str, float]:
    """The time of one by one over that of each other way, of an epoch of all classes."""
    timings = timings_of(CLASSES, list(WAYS), SMALL, rounds=2, epochs=2, warm=1, full=False)
    return {f"srae heads: {PLAIN} / {way}": speedup(timings, CLASSES, way, PLAIN) for way in WAYS if way != PLAIN}
