"""The paper's augmentation: five crops of a frame, each rotated by five angles (section 9 of the paper).

A crop is looked up in the frame's sub-samples, nearest neighbour, and only then averaged to pixels. Image and mask
go through the same table, so that a mask stays exact: on where any sub-sample of the pixel lies on the part.
"""

from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)

MAX_CROPS = 5
MAX_ROTATIONS = 5
_STEP = 5
_PLACES = ((0.5, 0.5), (0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0))
"""Centre and corners, as (row, column) shares of the room that a crop has."""


@dataclass(frozen=True)
class Crop:
    """One square window of a frame, turned about its own centre; all lengths in pixels."""

    size: int
    """Side of the frame."""
    crop_size: int
    """Side of the window."""
    place: int
    """0 the centre, 1 to 4 the corners row by row."""
    degrees: float
    """Counterclockwise turn of the picture."""

    @property
    def name(self) -> str:
        """Part of a sample's key."""
        return f"crop{self.place}-rot{self.degrees:02g}"


def make_crops(size: int, crop_size: int, crops: int, rotations: int) -> list[Crop]:
    """The first ``crops`` of centre and corners, each with the first ``rotations`` of 5, 10, 15, 20 and 25 degrees."""
    angles = [_STEP * (i + 1) for i in range(rotations)]
    return [Crop(size, crop_size, place, angle) for place in range(crops) for angle in angles]


def take(values: NDArray[Scalar], crop: Crop, supersampling: int) -> NDArray[Scalar]:
    """(n, n, …) sub-samples of a frame → (m, m, …) sub-samples of a crop.

    What a turned window shows from outside the frame repeats the frame's edge.
    """
    rows, columns = _table(crop, supersampling)
    taken: NDArray[Scalar] = values[rows, columns]
    return taken


@cache
def _table(crop: Crop, supersampling: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Row and column of the frame's sub-sample for each sub-sample of the crop."""
    n, m = crop.size * supersampling, crop.crop_size * supersampling
    room = crop.size - crop.crop_size
    top, left = (supersampling * round(share * room) for share in _PLACES[crop.place])
    offset = np.arange(m) + 0.5 - m / 2
    angle = np.deg2rad(crop.degrees)
    x, y = offset[None, :], offset[:, None]
    columns = left + m / 2 + np.cos(angle) * x - np.sin(angle) * y
    rows = top + m / 2 + np.sin(angle) * x + np.cos(angle) * y
    inside = [np.clip(np.floor(index), 0, n - 1).astype(np.int32) for index in (rows, columns)]
    return inside[0], inside[1]
