"""Times the ways in alternation, round after round; tables and goals."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Generic, TypeVar

import torch

from benchmarks.common import machine, show
from benchmarks.inversion.ways import BFLOAT16, FLOAT32, LITERAL, RELEASED, WAYS, WHOLE, Found
from benchmarks.rounds import ratio, side_by_side
from benchmarks.srae_scale.report import Goal
from vitrine.attribution.inversion import InversionResult

Result = TypeVar("Result")


@dataclass
class Timing(Generic[Result]):
    """Of one way."""

    way: str
    result: Result
    """Of the round that is not counted."""
    seconds: list[float] = field(default_factory=list)
    """An image, of each round."""

    @property
    def median(self) -> float:
        """Over rounds."""
        return median(self.seconds)


def timed(
    runs: Mapping[str, Callable[[], Result]], images: int, rounds: int, device: str, title: str
) -> dict[str, Timing[Result]]:
    """Each way's seconds an image in each round, which begins with another way each time, after one that is not counted."""
    results: dict[str, Result] = {}

    def keeping(name: str) -> Callable[[], None]:
        def run() -> None:
            results.setdefault(name, runs[name]())

        return run

    seconds = side_by_side({name: keeping(name) for name in runs}, rounds, device, title)
    return {name: Timing(name, results[name], [s / images for s in seconds[name]]) for name in runs}


def speed(timings: Mapping[str, Timing[Result]], way: str, over: str) -> float:
    """How often a way fits into the time of another: median over rounds of what was measured side by side."""
    return ratio({name: timing.seconds for name, timing in timings.items()}, over, way)


GOALS = ((FLOAT32, LITERAL, 1.5), (BFLOAT16, LITERAL, 2.2), (FLOAT32, RELEASED, 3.0))


def goals_of(network: str, timings: Mapping[str, Timing[Found]]) -> list[Goal]:
    """How fast ours has to be."""
    goals = []
    for way, over, least in GOALS:
        ratio = speed(timings, way, over)
        goals.append(Goal(f"{network}: speed of {way} over {over}", f"{ratio:.2f}×", f"≥ {least:.1f}×", ratio >= least))
    return goals


def apart(found: Found, wanted: Found) -> dict[str, float]:
    """Mean absolute differences of losses and masks over images, and the largest of a mask's."""
    masks = (found.masks.double() - wanted.masks.double()).abs().mean(dim=(1, 2, 3))
    loss = (found.loss.double() - wanted.loss.double()).abs().mean()
    return {"loss": float(loss), "masks": float(masks.mean()), "worst mask": float(masks.max())}


def figures_of(timings: Mapping[str, Timing[Found]]) -> list[dict[str, Any]]:
    """One row a way; differences are from the literal one, whose losses the released scheme does not have."""
    rows = []
    for name, timing in timings.items():
        row: dict[str, Any] = {"way": name, "told": WAYS[name], "seconds": timing.seconds, "median": timing.median}
        row |= {"speed": speed(timings, name, LITERAL), "final loss": float(timing.result.loss.mean())}
        rows.append(row | {"apart": None if name == RELEASED else apart(timing.result, timings[LITERAL].result)})
    return rows


def warm_figures_of(timings: Mapping[str, Timing[InversionResult]]) -> list[dict[str, Any]]:
    """One row a way."""
    rows = []
    for name, timing in timings.items():
        result, whole = timing.result, timings[WHOLE].result
        differences = (result.masks - whole.masks).abs().mean(dim=(1, 2, 3))
        rows.append(
            {
                "way": name,
                "seconds": timing.seconds,
                "median": timing.median,
                "speed": speed(timings, name, WHOLE),
                "steps": float(result.steps.to(torch.float64).mean()),
                "masks apart": float(differences.mean()),
            }
        )
    return rows


def show_ways(network: str, rows: list[dict[str, Any]]) -> None:
    """What was measured."""
    cells = []
    for row in rows:
        differences = row["apart"] or {}
        told = [f"{differences[name]:.2g}" if name in differences else "–" for name in ("loss", "masks", "worst mask")]
        cells.append([row["way"], f"{row['median']:.3f}", f"{row['speed']:.2f}×", f"{row['final loss']:.5f}", *told])
    columns = ["", "s an image", f"over {LITERAL}", "final loss", "loss apart", "masks apart", "at most"]
    show(f"{network} ({machine()})", columns, cells)


def show_warm(network: str, rows: list[dict[str, Any]]) -> None:
    """What was measured of a trained predictor."""
    cells = [
        [row["way"], f"{row['median']:.4f}", f"{row['speed']:.1f}×", f"{row['steps']:.1f}", f"{row['masks apart']:.3f}"]
        for row in rows
    ]
    columns = ["", "s an image", "speed", "steps", "masks apart"]
    show(f"{network}, with a predictor ({machine()})", columns, cells)
