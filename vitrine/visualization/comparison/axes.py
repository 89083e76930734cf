"""Axes of a plot: a linear or logarithmic scale with round ticks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

TICKS = 5
"""About how many ticks an axis has."""


@dataclass(frozen=True)
class Axis:
    """Maps values to positions between two ends, in pixels.

    Args:
        low: the least value.
        high: the largest value.
        start: position of the least.
        end: position of the largest.
        logarithmic: whether equal ratios have equal lengths.
    """

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def position(self, value: float) -> float:
        """Where a value is."""
        low, high, value = (self._scaled(number) for number in (self.low, self.high, value))
        return self.start + (self.end - self.start) * (value - low) / (high - low)

    def ticks(self) -> list[float]:
        """Round values on the axis."""
        return _powers(self.low, self.high) if self.logarithmic else _multiples(self.low, self.high)

    def _scaled(self, value: float) -> float:
        return math.log(value) if self.logarithmic else value


def axis_of(values: Sequence[float], start: float, end: float, *, may_be_logarithmic: bool = False) -> Axis:
    """An axis over finite values; a single value gets room on both sides.

    With ``may_be_logarithmic`` it is so where the values are positive, span a factor of 100 or more, and lie more evenly by
    their ratios than by their differences, as those of a path of μ do.
    """
    low, high = min(values), max(values)
    if low == high:
        room = max(0.5, 0.1 * abs(low))
        return Axis(low - room, high + room, start, end)
    return Axis(low, high, start, end, logarithmic=may_be_logarithmic and _is_geometric(sorted(set(values))))


def _is_geometric(values: Sequence[float]) -> bool:
    if values[0] <= 0 or values[-1] / values[0] < 100:
        return False
    middle = values[len(values) // 2]
    by_ratio = math.log(middle / values[0]) / math.log(values[-1] / values[0])
    by_difference = (middle - values[0]) / (values[-1] - values[0])
    return abs(by_ratio - 0.5) < abs(by_difference - 0.5)


def _multiples(low: float, high: float) -> list[float]:
    """The multiples of 1, 2 or 5 times a power of ten between two values."""
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
    return [n * step for n in range(first, last + 1)]


def _powers(low: float, high: float) -> list[float]:
    """The powers of ten between two values, every second or third where there are many."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    return [10.0**n for n in range(first, last + 1, max(1, (last - first) // TICKS))]
