"""Contact sheets: the images of an x-feature, and the average images of a class's filters."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vitrine.filters.average_images import AverageImage
from vitrine.visualization.grid import captioned_grid
from vitrine.visualization.overlays import colours, overlay, picture, positive_strength

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


Cell = tuple[str, Image.Image]


def average_sheet(
    averages: Sequence[AverageImage],
    labels: Sequence[str],
    denormalize: Callable[[Tensor], Tensor],
    *,
    cell: int = 160,
) -> Image.Image:
    """One row a feature: pixels, upsampled activation, deconvnet with guided backprop, and the paper's heatmap.

    The pixels stand under the feature's label, the maps under their names. Of a map its positive part is drawn, over its
    own maximum. A layer without places leaves the cell of its activation empty, as in the paper's figure 13.

    Args:
        averages: in the order of the rows, the most relevant first.
        labels: one for each, such as `RelevantFilter.label`.
        denormalize: takes (B, 3, h, w) as the backbone takes them to colours in [0, 1].
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
    """The picture as large as fits, in the middle of a white square."""
    scale = cell / max(image.size)
    width, height = (max(1, round(scale * length)) for length in image.size)
    tile = Image.new("RGB", (cell, cell), "white")
    shown = image.resize((width, height), Image.Resampling.BICUBIC)
    tile.paste(shown, ((cell - width) // 2, (cell - height) // 2))
    return tile
