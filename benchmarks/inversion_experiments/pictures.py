"""Rows of images and maps as PNG files."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from rich.console import Console
from torch import Tensor

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
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.png"
    captioned_grid(rows, title).save(path)
    Console(stderr=True).print(f"wrote {path}", markup=False, highlight=False)
    return path
