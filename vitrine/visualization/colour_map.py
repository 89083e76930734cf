"""Colour maps of heatmaps: a sequential one of strengths, and two colours for the signs of maps that have both."""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

POSITIVE, NEGATIVE = (240, 130, 10), (40, 125, 225)
"""Orange for evidence, blue against it: told apart with protanopia and deuteranopia, too."""
OPACITY_EXPONENT = 0.75
"""A strength s is drawn at opacity s to this power, so that weak evidence is still seen."""

_OKLAB_TO_LMS = np.array(
    [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
)
_LMS_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def colours(strength: Tensor) -> NDArray[np.uint8]:
    """The colour map: sRGB bytes (…, 3) of strengths (…) in [0, 1].

    Lightness and hue change linearly from violet over red to yellow at constant chroma in OKLab (Ottosson 2020), so that
    the map is perceptually uniform and readable in greyscale.
    """
    starts, steps = _colour_steps()
    found: NDArray[np.uint8] = steps[np.searchsorted(starts, strength.double().numpy(), side="right")]
    return found


@cache
def _colour_steps() -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """The colour map as steps of one colour each: where all but the first begin, (S − 1), and their bytes, (S, 3)."""
    places = np.linspace(0, 1, 1 << 16)  # of which two neighbours are at most one step of a channel apart
    coloured = exact_colours(places)
    at, channel = np.nonzero(coloured[1:] != coloured[:-1])
    low, high, before = places[at], places[at + 1], coloured[at, channel]
    for _ in range(60):  # down to neighbouring floats
        middle = (low + high) / 2
        is_before = exact_colours(middle)[np.arange(len(at)), channel] == before
        low, high = np.where(is_before, middle, low), np.where(is_before, high, middle)
    starts = np.unique(high)
    return starts, exact_colours(np.concatenate([[0.0], starts]))


def exact_colours(t: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The formula of `colours`, which looks its steps up as the formula takes longer than all else of an overlay."""
    lightness, hue, chroma = 0.3 + 0.6 * t, np.deg2rad(290 + 170 * t), 0.165
    oklab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=-1)
    linear = np.clip((oklab @ _OKLAB_TO_LMS.T) ** 3 @ _LMS_TO_RGB.T, 0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    colour: NDArray[np.uint8] = np.rint(255 * srgb).astype(np.uint8)
    return colour


def opacities(strength: Tensor) -> NDArray[np.uint8]:
    """Opacity bytes (…) of strengths (…) in [0, 1]: nothing at 0, all at 1."""
    found: NDArray[np.uint8] = np.rint(255 * strength.numpy() ** OPACITY_EXPONENT).astype(np.uint8)
    return found
