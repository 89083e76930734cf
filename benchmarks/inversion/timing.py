"""Ways in turn, round after round."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Generic, TypeVar

from rich.console import Console
from rich.progress import track

from benchmarks.srae_scale.clock import now

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
    names = list(runs)
    timings: dict[str, Timing[Result]] = {}
    for number in track(range(rounds + 1), title, console=Console(stderr=True), transient=True):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            began = now(device)
            result = runs[name]()
            taken = (now(device) - began) / images
            if number:
                timings[name].seconds.append(taken)
            else:
                timings[name] = Timing(name, result)
    return timings


def speed(timings: Mapping[str, Timing[Result]], way: str, over: str) -> float:
    """How often a way fits into the time of another: median over rounds of what was measured side by side."""
    pairs = zip(timings[over].seconds, timings[way].seconds, strict=True)
    return median(slow / fast for slow, fast in pairs)
