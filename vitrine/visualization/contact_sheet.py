"""Contact sheets: the top images of an x-feature, and the average images of a class's filters."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vitrine.filters.average_images import AverageImage
from vitrine.visualization.colour_map import colours
from vitrine.visualization.grid import captioned_grid
from vitrine.visualization.layers import positive_strength
from vitrine.visualization.legend import with_legend
from vitrine.visualization.overlays import overlay, picture

SortKey = tuple[float, str, int]
"""−|contribution|, key, rank: by falling contribution."""


class ContactTile(NamedTuple):
    """An image to whose prediction an x-feature contributes, under its heatmap."""

    contribution: float
    """vᵢEᵢ."""
    key: str
    """Key of the image."""
    rank: int
    """Rank of the process that read the image."""
    pixels: NDArray[np.uint8]
    """(h, w, 3)."""

    @property
    def sort_key(self) -> SortKey:
        """Largest contributions first, ties by key."""
        return sort_key_of(self.contribution, self.key, self.rank)

    @property
    def caption(self) -> str:
        """The contribution, and below it the last part of the key."""
        return f"{self.contribution:+.2f}\n{self.key.rpartition('/')[2]}"


def sort_key_of(contribution: float, key: str, rank: int) -> SortKey:
    """Sort key of an image among all to whose prediction an x-feature contributes.

    Contributions are compared by absolute value, as those of x-features against their class are negative.
    """
    return -abs(contribution), key, rank


def contact_pixels(image: Tensor, heatmap: Tensor, cell: int) -> NDArray[np.uint8]:
    """(h, w, 3): a (3, H, W) image in [0, 1] under its (H, W) heatmap, with a longer side of ``cell`` pixels."""
    return np.asarray(overlay(image, heatmap, side=cell))


def contact_sheet(title: str, tiles: Sequence[ContactTile], columns: int) -> Image.Image:
    """A grid of tiles below a title, in their order, above a legend.

    Args:
        title: of the sheet.
        tiles: all of one size.
        columns: number of tiles in a row.

    Raises:
        ValueError: where there is no tile.
    """
    cells = [(tile.caption, Image.fromarray(tile.pixels, "RGB")) for tile in tiles]
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    return with_legend(captioned_grid(rows, title), scale="own")


Cell = tuple[str, Image.Image]


def average_sheet(
    averages: Sequence[AverageImage],
    labels: Sequence[str],
    denormalize: Callable[[Tensor], Tensor],
    *,
    cell: int = 160,
) -> Image.Image:
    """A row of pictures for each filter: pixels, upsampled activation, guided backprop, and the paper's heatmap.

    The filter's label is the caption of the pixels. Maps are drawn by their positive part, divided by its maximum. The cell
    of the activation is empty for a non-spatial layer, as in the paper's figure 13.

    Args:
        averages: in the order of the rows.
        labels: of the filters, such as `RelevantFilter.label`.
        denormalize: maps (B, 3, h, w) normalised images to images in [0, 1].
        cell: side of a square cell in pixels.

    Raises:
        ValueError: where there are no average images.
    """
    if not averages:
        raise ValueError("There are no average images to draw.")
    return captioned_grid(
        [_row(average, label, denormalize, cell) for average, label in zip(averages, labels, strict=True)]
    )


def _row(average: AverageImage, label: str, denormalize: Callable[[Tensor], Tensor], cell: int) -> list[Cell]:
    pixels = picture(denormalize(average.pixels.float()[None])[0])
    maps = {"activation": average.activation, "deconv + GB": average.guided_backprop, "ours": average.heatmap}
    return [(label, _tile(pixels, cell)), *(_map_cell(name, map_, cell) for name, map_ in maps.items())]


def _map_cell(name: str, map_: Tensor | None, cell: int) -> Cell:
    if map_ is None:
        return f"{name} (no map)", Image.new("RGB", (cell, cell), "white")
    strength = positive_strength(map_, sigma=0)
    if strength is None:
        return f"{name} (nowhere > 0)", Image.new("RGB", (cell, cell), "#eeeeee")
    return name, _tile(Image.fromarray(colours(strength), "RGB"), cell)


def _tile(image: Image.Image, cell: int) -> Image.Image:
    """The image, resized to fit and centred in a white square."""
    scale = cell / max(image.size)
    width, height = (max(1, round(scale * length)) for length in image.size)
    tile = Image.new("RGB", (cell, cell), "white")
    shown = image.resize((width, height), Image.Resampling.BICUBIC)
    tile.paste(shown, ((cell - width) // 2, (cell - height) // 2))
    return tile
