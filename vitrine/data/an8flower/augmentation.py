"""Augmentation: five crops of a frame, each rotated by five angles (section 9 of Oramas et al., ICLR 2019).

A crop selects sub-samples of the frame, by nearest neighbour, which are averaged to pixels afterwards. Image and mask use the
same indices, so that the mask is exact: on where any sub-sample of the pixel is on the part.
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
_POSITIONS = ((0.5, 0.5), (0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0))
"""Centre and corners, as (row, column) shares of the free space around the crop."""


@dataclass(frozen=True)
class Crop:
    """A square window of a frame, rotated about its own centre; lengths in pixels."""

    size: int
    """Side of the frame."""
    crop_size: int
    """Side of the window."""
    place: int
    """0 for the centre, 1 to 4 for the corners row by row."""
    degrees: float
    """Counterclockwise rotation of the image."""

    @property
    def name(self) -> str:
        """Suffix of the sample's key."""
        return f"crop{self.place}-rot{self.degrees:02g}"


def make_crops(size: int, crop_size: int, num_crops: int, num_rotations: int) -> list[Crop]:
    """The first crops of centre and corners, each with the first rotations of 5, 10, 15, 20 and 25 degrees."""
    angles = [_STEP * (i + 1) for i in range(num_rotations)]
    return [Crop(size, crop_size, place, angle) for place in range(num_crops) for angle in angles]


def crop_samples(values: NDArray[Scalar], crop: Crop, supersampling: int) -> NDArray[Scalar]:
    """(m, m, …) sub-samples of a crop, from the (n, n, …) sub-samples of its frame.

    Outside the frame, a rotated window repeats the frame's edge.
    """
    rows, columns = _indices(crop, supersampling)
    cropped: NDArray[Scalar] = values[rows, columns]
    return cropped


@cache
def _indices(crop: Crop, supersampling: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Row and column in the frame of each sub-sample of the crop."""
    n, m = crop.size * supersampling, crop.crop_size * supersampling
    free = crop.size - crop.crop_size
    top, left = (supersampling * round(share * free) for share in _POSITIONS[crop.place])
    offset = np.arange(m) + 0.5 - m / 2
    angle = np.deg2rad(crop.degrees)
    x, y = offset[None, :], offset[:, None]
    columns = left + m / 2 + np.cos(angle) * x - np.sin(angle) * y
    rows = top + m / 2 + np.sin(angle) * x + np.cos(angle) * y
    clipped = [np.clip(np.floor(index), 0, n - 1).astype(np.int32) for index in (rows, columns)]
    return clipped[0], clipped[1]
