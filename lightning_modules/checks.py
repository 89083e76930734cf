"""Refuses numbers of a module's options that are out of range."""

import math


def check_at_least_0(**numbers: float) -> None:
    """Raises ValueError, with the option's name, for a number that is negative, infinite or none."""
    for name, value in numbers.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} is {value}; give 0 or more.")


def check_above_0(**numbers: float) -> None:
    """Raises ValueError, with the option's name, for a number that is not above 0, infinite or none."""
    for name, value in numbers.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} is {value}; give a finite number above 0.")


def check_positive_weight(weight: float | str) -> None:
    """Raises ValueError for a weight of a class's own images that is neither ``balanced`` nor above 0."""
    if weight != "balanced" and not 0 < float(weight) < math.inf:
        raise ValueError(f"positive_weight is {weight}; give a finite number above 0, or balanced.")
