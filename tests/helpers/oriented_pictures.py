"""Pictures with an EXIF orientation, and where numpy says that their pixels belong."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

TAGS = range(1, 9)
WIDTH, HEIGHT = 40, 24
BOX = (24, 0, 32, 8)
"""White on black, whole blocks of a JPEG, and in another place for each orientation."""
POINT = (25, 2)
"""A pixel of the box."""


def stored_pixels() -> NDArray[np.uint8]:
    """(H, W) grey pixels as they are stored."""
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
    pixels[BOX[1] : BOX[3], BOX[0] : BOX[2]] = 255
    return pixels


def upright_of(pixels: NDArray[Any], tag: int) -> NDArray[Any]:
    """What the EXIF standard says of where the first row and column are seen."""
    turned = pixels.T if tag >= 5 else pixels
    rows = slice(None, None, -1) if tag in {3, 4, 7, 8} else slice(None)
    columns = slice(None, None, -1) if tag in {2, 3, 6, 7} else slice(None)
    return turned[rows, columns]


def extent(on: NDArray[Any]) -> list[float]:
    """The tightest half-open box around what is on."""
    ys, xs = np.nonzero(on)
    return [float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1)]


def upright_point(tag: int) -> list[float]:
    """Where the pixel of `POINT` is seen."""
    marked = np.zeros((HEIGHT, WIDTH))
    marked[POINT[1], POINT[0]] = 1
    return extent(upright_of(marked, tag))[:2]


def encoded(pixels: NDArray[Any], kind: str = "PNG", tag: int = 1) -> bytes:
    """A file of pixels with an orientation."""
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[ExifTags.Base.Orientation] = tag
    options = {"tiffinfo": {ExifTags.Base.Orientation: tag}} if kind == "TIFF" else {"exif": exif}
    Image.fromarray(pixels).save(buffer, format=kind, **({} if tag == 1 else options))
    return buffer.getvalue()
