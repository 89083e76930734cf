"""Average images side by side, one row a feature."""

from collections.abc import Callable, Sequence

from PIL import Image
from torch import Tensor

from vitrine.interpretation.averages import AverageImage
from vitrine.rendering import captioned_grid, colours, picture, positive_strength

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
