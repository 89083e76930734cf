"""Contact sheets: the images on which an x-feature contributes most, for a person to find a name for it.

Qi, Khorram and Li, Embedding Deep Networks into Visual Explanations, 2018, section 2.4: people look at what a concept
highlights in many images, and name it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vitrine.rendering import captioned_grid, overlay

Place = tuple[float, str, int]
"""What tiles are sorted by: −|contribution|, key, rank."""


class ContactTile(NamedTuple):
    """An image on which an x-feature contributes, under its heatmap."""

    contribution: float
    """vᵢEᵢ."""
    key: str
    """The image's."""
    rank: int
    """The process that saw the image."""
    pixels: NDArray[np.uint8]
    """(h, w, 3): all that a sheet needs."""

    @property
    def place(self) -> Place:
        """The largest contributions come first, ties by key."""
        return place_of(self.contribution, self.key, self.rank)

    @property
    def caption(self) -> str:
        """Contribution, and below it the last part of the key."""
        return f"{self.contribution:+.2f}\n{self.key.rpartition('/')[2]}"


def place_of(contribution: float, key: str, rank: int) -> Place:
    """The place of an image among all on which an x-feature contributes.

    By size, as x-features that speak against their class contribute nothing or less than that.
    """
    return -abs(contribution), key, rank


def contact_pixels(image: Tensor, heatmap: Tensor, cell: int) -> NDArray[np.uint8]:
    """(h, w, 3): a (3, H, W) image in [0, 1] under its (H, W) heatmap, brought to a longer side of ``cell`` pixels."""
    return np.asarray(overlay(image, heatmap, side=cell))


def contact_sheet(title: str, tiles: Sequence[ContactTile], columns: int) -> Image.Image:
    """The tiles in rows below a title, in their order.

    Args:
        title: what the tiles have in common.
        tiles: of one size.
        columns: tiles a row.

    Raises:
        ValueError: where there is no tile.
    """
    cells = [(tile.caption, Image.fromarray(tile.pixels, "RGB")) for tile in tiles]
    return captioned_grid([cells[start : start + columns] for start in range(0, len(cells), columns)], title)
