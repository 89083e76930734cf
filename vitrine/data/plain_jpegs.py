"""Plain JPEGs, upright and in RGB, decoded straight to tensors: several copies of the pixels less than through Pillow."""

from io import BytesIO

import torch
from PIL import Image
from torch import Tensor
from torchvision.io import ImageReadMode

from vitrine.core.picture_files import max_pixels
from vitrine.data.orientation import orientation_of

_START, _SCAN, _EXIF_OR_XMP = 0xD8, 0xDA, 0xE1
_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
"""Baseline, extended and progressive JPEGs."""
_RGB = 3


def plain_jpeg(data: bytes) -> Tensor | None:
    """(3, H, W) uint8 pixels of an upright JPEG of three channels, those that Pillow decodes; None for all else.

    All else, such as grey, CMYK, turned, damaged and too large pictures, is left to Pillow, which says what is wrong with it.
    """
    if not _is_plain(data):
        return None
    try:
        return decode_rgb(data)
    except (RuntimeError, AttributeError):  # a damaged picture, or a torchvision without the operator
        return None


def decode_rgb(data: bytes) -> Tensor:
    """(3, H, W) uint8 pixels of a JPEG by torchvision's operator.

    Its function `torchvision.io.decode_jpeg` warns at each call since 0.29 that it will be removed.

    Raises:
        RuntimeError: for a damaged picture.
        AttributeError: where torchvision has no such operator.
    """
    encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)  # a copy, since a tensor has to be writable
    pixels: Tensor = torch.ops.image.decode_jpeg(encoded, ImageReadMode.RGB.value)
    return pixels


def _is_plain(data: bytes) -> bool:
    """Whether the header of a JPEG tells of three channels of 8 bits that stand upright and are not too many pixels."""
    at, is_rgb = 2, False
    if data[:2] != bytes([0xFF, _START]):
        return False
    while at + 9 < len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == _SCAN:
            return is_rgb
        if marker == _EXIF_OR_XMP and not _is_upright(data):
            return False
        if marker in _FRAMES:
            height, width = int.from_bytes(data[at + 5 : at + 7]), int.from_bytes(data[at + 7 : at + 9])
            is_rgb = data[at + 4] == 8 and data[at + 9] == _RGB and 0 < height * width <= max_pixels()
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return False


def _is_upright(data: bytes) -> bool:
    try:
        with Image.open(BytesIO(data)) as picture:
            return not orientation_of(picture)
    except Exception:  # noqa: BLE001 - Pillow raises many kinds on broken headers, and is asked again for a message
        return False
