"""Grids of pictures with captions."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageDraw

from vitrine.visualization.fonts import drawable, font, letters

LINE = 18  # height of a line of a caption in pixels
WIDEST_TITLE = 640  # pixels; narrower grids are widened for their title


def captioned_grid(rows: Sequence[Sequence[tuple[str, Image.Image]]], title: str = "") -> Image.Image:
    """Arranges pictures of one size in rows, each below its caption of one or more lines; rows may differ in length.

    Args:
        rows: captions and pictures of each row.
        title: a line above the grid.

    Raises:
        ValueError: where there is no picture.
    """
    if not rows or not rows[0]:
        raise ValueError("a grid needs at least one picture")
    width, height = rows[0][0][1].size
    lines = max(caption.count("\n") + 1 for row in rows for caption, _ in row)
    layout = GridLayout(len(rows), max(map(len, rows)), width, height, caption=LINE * lines + 4)
    canvas = Image.new("RGB", layout.size, "white")
    for row, cells in enumerate(rows):
        for column, (caption, tile) in enumerate(cells):
            draw_cell(canvas, layout.corner(row, column), tile, caption.split("\n"))
    return _titled(canvas, title, margin=layout.gap) if title else canvas


def _titled(grid: Image.Image, title: str, margin: int) -> Image.Image:
    """The grid below a line of text."""
    title = drawable(title)
    shown = font(16, letters(title))
    width = max(grid.width, min(round(shown.getlength(title)) + 2 * margin, WIDEST_TITLE))
    canvas = Image.new("RGB", (width, grid.height + 2 * LINE), "white")
    text = _fitted(title, 16, width - 2 * margin)
    ImageDraw.Draw(canvas).text((margin, margin), text, fill="#111111", font=shown)
    canvas.paste(grid, (0, 2 * LINE))
    return canvas


@dataclass(frozen=True)
class GridLayout:
    """Positions of the cells of a grid, in pixels."""

    rows: int
    columns: int
    width: int
    height: int
    caption: int
    gap: int = 10

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return (
            self.columns * (self.width + self.gap) + self.gap,
            self.rows * (self.caption + self.height + self.gap) + self.gap,
        )

    def corner(self, row: int, column: int) -> tuple[int, int]:
        """The lower left corner of a cell."""
        return self.gap + column * (self.width + self.gap), (row + 1) * (self.caption + self.height + self.gap)


def draw_cell(
    canvas: Image.Image, corner: tuple[int, int], tile: Image.Image, caption: Sequence[str], colour: str | None = None
) -> None:
    """Draws a tile with its lower left corner at ``corner``, below the lines of its caption, the first in ``colour``."""
    x, y = corner
    draw = ImageDraw.Draw(canvas)
    for line, text in enumerate(caption):
        position = (x, y - tile.height - LINE * (len(caption) - line) - 2)
        shown, ink = _fitted(text, 13, tile.width), "#555555" if line else colour or "#111111"
        draw.text(position, shown, fill=ink, font=font(13, letters(shown)))
    canvas.paste(tile, (x, y - tile.height))


@lru_cache(maxsize=4096)  # the names of images recur under each of their heatmaps
def _fitted(text: str, size: int, width: int) -> str:
    """The text as it can be drawn, shortened in the middle where it is too wide.

    Not at the end, because names of layers and species differ at both ends.
    """
    text = drawable(text)
    shown = font(size, letters(text))
    if shown.getlength(text) <= width:
        return text
    for length in range(len(text) - 1, 1, -1):
        shortened = f"{text[: (length + 1) // 2].rstrip()}...{text[len(text) - length // 2 :].lstrip()}"
        if shown.getlength(shortened) <= width:
            return shortened
    return "..."
