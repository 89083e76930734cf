"""Pictures of the experiments: rows of images and maps, and curves of errors, as PNG files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from torch import Tensor

from vitrine.core.atomic_io import atomic_file
from vitrine.data.preprocessing import Preprocessing
from vitrine.visualization.grid import captioned_grid
from vitrine.visualization.overlays import overlay, picture

SIDE = 150

Cells = Sequence[tuple[str, Image.Image]]


def shown(image: Tensor, preprocessing: Preprocessing) -> Tensor:
    """(3, S, S) input as colours in [0, 1]."""
    return preprocessing.denormalize(image[None].cpu())[0]


def plain(caption: str, colours: Tensor) -> tuple[str, Image.Image]:
    """An image of (3, S, S) colours as a cell."""
    return caption, picture(colours).resize((SIDE, SIDE))


def laid_over(caption: str, colours: Tensor, heat: Tensor) -> tuple[str, Image.Image]:
    """An (S, S) map over its image as a cell."""
    return caption, overlay(colours, heat, side=SIDE)


def write_rows(folder: Path, name: str, rows: Sequence[Cells], title: str) -> Path:
    """Writes a PNG, and says where."""
    path = folder / f"{name}.png"
    with atomic_file(path) as partial:
        captioned_grid(rows, title).save(partial)
    Console(stderr=True).print(f"wrote {path}", markup=False, highlight=False)
    return path


COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22")
LEFT, TOP, WIDTH, HEIGHT = 50, 20, 480, 300


def draw_curves(path: Path, across: Sequence[float], curves: Mapping[str, Sequence[float]]) -> None:
    """Draws shares in [0, 1] over values that rise, a line a name, with a legend beside."""
    font = ImageFont.load_default(12)
    canvas = Image.new("RGB", (LEFT + WIDTH + 200, TOP + HEIGHT + 45), "white")
    draw = ImageDraw.Draw(canvas)

    def place(value: float, share: float) -> tuple[float, float]:
        along = (value - across[0]) / (across[-1] - across[0])
        return LEFT + WIDTH * along, TOP + HEIGHT * (1 - share)

    for tenth in range(0, 11, 2):
        start, end = place(across[0], tenth / 10), place(across[-1], tenth / 10)
        draw.line([start, end], fill="#dddddd")
        draw.text((start[0] - 8, start[1]), f"{10 * tenth}", fill="black", font=font, anchor="rm")
    for value in across[:: max(len(across) // 10, 1)]:
        x, y = place(value, 0)
        draw.text((x, y + 6), f"{value:g}", fill="black", font=font, anchor="mt")
    draw.text(
        (LEFT + WIDTH / 2, TOP + HEIGHT + 24), "alpha; localisation error in %", fill="black", font=font, anchor="mt"
    )
    for number, (name, shares) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        draw.line([place(*point) for point in zip(across, shares, strict=True)], fill=colour, width=2)
        draw.text((LEFT + WIDTH + 12, TOP + 18 * number), name, fill=colour, font=font)
    with atomic_file(path) as partial:
        canvas.save(partial)
    Console(stderr=True).print(f"wrote {path}", markup=False, highlight=False)
