"""Picture files, opened only where their pixels fit in memory: a file of a few kilobytes may decode to gigabytes."""

import os
from pathlib import Path
from typing import IO

from PIL import Image, UnidentifiedImageError

VARIABLE = "VITRINE_MAX_PIXELS"
"""Environment variable that sets another bound, for sets of larger pictures."""


_RUN_BY_GHOSTSCRIPT = "EPS"  # by Pillow, whatever the file is called
_DEFAULT = 89_478_485  # Pillow's own; as RGB they take 256 MiB


class PictureSizeError(ValueError):
    """What is wrong with a picture that is too large: a clause that follows its name, or a sentence with it."""


def open_picture(file: Path | IO[bytes]) -> Image.Image:
    """Opens a picture, whose size is in its header, without decoding it.

    Raises:
        PictureSizeError: where it has more than `max_pixels`.
        UnidentifiedImageError: for PostScript, and as Pillow raises it, besides others, where it cannot be read.
    """
    bound = max_pixels()
    if bound > (Image.MAX_IMAGE_PIXELS or bound):
        Image.MAX_IMAGE_PIXELS = bound  # Pillow refuses twice as many by itself
    try:
        picture = Image.open(file)
    except Image.DecompressionBombError as error:
        raise PictureSizeError(f"has more than {bound} pixels ({error}); shrink it, or set {VARIABLE}") from None
    if picture.format == _RUN_BY_GHOSTSCRIPT:
        raise UnidentifiedImageError("PostScript is a program and no picture")
    width, height = picture.size
    if width * height > bound:
        raise PictureSizeError(
            f"is {width} x {height} pixels, more than {bound} in all; shrink it, or set {VARIABLE} to a larger number"
        )
    return picture


def max_pixels() -> int:
    """The most pixels that a picture may have: Pillow's own bound, 89 million, unless the environment sets another one.

    Raises:
        ValueError: where the environment's value is no whole number above 0.
    """
    text = os.environ.get(VARIABLE)
    if text is None:
        return _DEFAULT
    if not text.isascii() or not text.isdigit() or not int(text[:20]):
        raise ValueError(f"{VARIABLE} is {text!r}; give a whole number of pixels above 0.")
    return int(text[:20])
