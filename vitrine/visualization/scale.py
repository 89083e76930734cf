"""Common colour scale: how strongly each heatmap of an image is drawn beside the others."""

import math
from collections.abc import Sequence
from typing import Literal

from vitrine.core.image_ops import DISPLAY_SIGMA

Scale = Literal["common", "own"]
"""One scale for all heatmaps of an image, or each heatmap over its own maximum."""

COMMON_NOTE = (
    "1 is the strongest place of the heatmap with the largest score; the others end at their share of that score"
)
OWN_NOTE = "1 is the strongest place of each heatmap"


def blur_note(sigma: float | None) -> str:
    """How heatmaps are blurred for display, as a legend says it; empty where they are not."""
    if sigma is None:
        return f"blurred for display, Gaussian of {100 * DISPLAY_SIGMA:g} % of the longer side"
    return f"blurred for display, Gaussian of {sigma:g} px" if sigma else ""


def shares(scores: Sequence[float], scale: Scale = "common") -> list[float]:
    """What each heatmap's maximum is on the scale: its share of the largest absolute score, in [0, 1].

    Maps of one image are of any size by themselves: excitation backprop, for one, gives each a sum of 1. What compares them
    is what they contribute, so each is divided by its own maximum and multiplied by this share.

    Args:
        scores: of the heatmaps of one image.
        scale: ``own`` gives 1 for each.

    Returns:
        1 for a score that is not finite, and for all where the largest is 0.

    Example:
        >>> shares([2.0, -1.0, 0.0])
        [1.0, 0.5, 0.0]
    """
    largest = max((abs(score) for score in scores if math.isfinite(score)), default=0.0)
    if scale == "own" or largest == 0:
        return [1.0] * len(scores)
    return [abs(score) / largest if math.isfinite(score) else 1.0 for score in scores]
