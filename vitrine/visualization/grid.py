"""Grids of captioned pictures."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

LINE = 18  # pixels from line to line of a panel's captions
WIDEST_TITLE = 640  # pixels; a narrower grid gets a margin, so that its title can be read


def captioned_grid(rows: Sequence[Sequence[tuple[str, Image.Image]]], title: str = "") -> Image.Image:
    """Pictures of one size in rows, each below its caption of one or more lines; rows may differ in length.

    Args:
        rows: captions and pictures.
        title: a line above them all.

    Raises:
        ValueError: where there is no picture.
    """
    if not rows or not rows[0]:
        raise ValueError("a grid needs at least one picture")
    width, height = rows[0][0][1].size
    lines = max(caption.count("\n") + 1 for row in rows for caption, _ in row)
    sheet = _Sheet(len(rows), max(map(len, rows)), width, height, caption=LINE * lines + 4)
    canvas = Image.new("RGB", sheet.size, "white")
    for row, cells in enumerate(rows):
        for column, (caption, tile) in enumerate(cells):
            _draw(canvas, sheet.corner(row, column), tile, caption.split("\n"))
    return _titled(canvas, title, margin=sheet.gap) if title else canvas


def _titled(grid: Image.Image, title: str, margin: int) -> Image.Image:
    """The picture below a line of text."""
    font = ImageFont.load_default(16)
    width = max(grid.width, min(round(font.getlength(title)) + 2 * margin, WIDEST_TITLE))
    canvas = Image.new("RGB", (width, grid.height + 2 * LINE), "white")
    text = _fitted(title, font, width - 2 * margin)
    ImageDraw.Draw(canvas).text((margin, margin), text, fill="#111111", font=font)
    canvas.paste(grid, (0, 2 * LINE))
    return canvas


@dataclass(frozen=True)
class _Sheet:
    """Where the cells of a panel lie, in pixels."""

    rows: int
    columns: int
    width: int
    height: int
    caption: int
    gap: int = 10

    @property
    def size(self) -> tuple[int, int]:
        return (
            self.columns * (self.width + self.gap) + self.gap,
            self.rows * (self.caption + self.height + self.gap) + self.gap,
        )

    def corner(self, row: int, column: int) -> tuple[int, int]:
        """The lower left corner of a cell."""
        return self.gap + column * (self.width + self.gap), (row + 1) * (self.caption + self.height + self.gap)


def _draw(
    canvas: Image.Image, corner: tuple[int, int], tile: Image.Image, caption: Sequence[str], colour: str | None = None
) -> None:
    """Draws a tile with its lower left corner at ``corner`` and the caption's lines above it, the first in ``colour``."""
    x, y = corner
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    for line, text in enumerate(caption):
        place = (x, y - tile.height - LINE * (len(caption) - line) - 2)
        draw.text(place, _fitted(text, font, tile.width), fill="#555555" if line else colour or "#111111", font=font)
    canvas.paste(tile, (x, y - tile.height))


def _fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The text in what the built-in font has (basic Latin), cut with dots in its middle where it is too wide.

    The middle goes because names of layers and species tell themselves apart at both ends.
    """
    text = unicodedata.normalize("NFKD", text)
    text = "".join(c if c.isascii() else "?" for c in text if not unicodedata.combining(c))
    if font.getlength(text) <= width:
        return text
    for kept in range(len(text) - 1, 1, -1):
        cut = f"{text[: (kept + 1) // 2].rstrip()}...{text[len(text) - kept // 2 :].lstrip()}"
        if font.getlength(cut) <= width:
            return cut
    return "..."
