"""Encoding of binary masks: which pixels of a mask file are on."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vitrine.data.colours import eight_bit
from vitrine.data.shards.images import EncodedImage, decode, decode_upright, is_binary, to_png

BoolArray = NDArray[np.bool_]

_LOSSY_FORMATS = frozenset({"JPEG", "MPO"})
_NEARLY_BLACK, _NEARLY_WHITE, _HALF = 31, 224, 128
_GREY_SPREAD = 8
"""Most that the channels of a grey pixel differ by, with the noise of a JPEG."""


def encode_mask(data: bytes, name: str) -> EncodedImage:
    """Encodes a binary mask as 8-bit grey PNG of 0 and 255; the bytes of such a file, also of 0 and 1, are kept.

    The rule is that of `on_pixels`.

    Raises:
        ValueError: where the mask is broken, or it does not show which pixels are on.
    """
    image = decode_upright(data, name)
    if image.format != "PNG" or image.orientation or image.pixels.mode != "L" or not is_binary(image.pixels):
        on = on_pixels(image.pixels, name, lossy=image.format in _LOSSY_FORMATS)
        data = to_png(Image.fromarray(np.where(on, 255, 0).astype(np.uint8)))
    return EncodedImage(data, "png", *image.pixels.size, image.orientation)


def constant_remarks(data: bytes) -> list[str]:
    """What is worth telling of an encoded mask: that it is on nowhere, or everywhere."""
    lowest, highest = decode(data, "").getextrema()
    if lowest == highest:
        return ["masks that are off everywhere" if highest == 0 else "masks that are on everywhere"]
    return []


def on_pixels(picture: Image.Image, name: str, *, lossy: bool = False) -> BoolArray:
    """Which pixels of a mask are on.

    A mask of 0 and one other value (1, 100, 255, 65535, a class), or of black and one colour, is on where it is not 0 or
    black. A mask with more grey values is on from half of white where it goes from black to white with values on both
    sides of half, as an antialiased edge has them. Where transparency varies, it is read by the same rule, and has to agree
    with the colours, unless they show a picture or one colour alone. Other masks are refused: maps of several classes, also
    with 255 for pixels to ignore, grey without black or white.

    Args:
        picture: upright, in its own colour mode.
        name: of the mask in messages.
        lossy: whether the values have the noise of a JPEG, so that only nearly black and nearly white count.

    Raises:
        ValueError: where the mask does not show which pixels are on.
    """
    readings = [_on_by_colour(picture, name, lossy=lossy), _on_by_alpha(picture)]
    possible = [reading for reading in readings if reading is not None]
    telling = [reading for reading in possible if reading.any() and not reading.all()]
    if not possible or any(not np.array_equal(reading, telling[0]) for reading in telling[1:]):
        why = "its transparency differs from its colours" if possible else _description(picture)
        raise ValueError(
            f"{name} does not show which pixels are on ({why}): save it with 0 where it is off and 255 where it is on."
        )
    return telling[0] if telling else possible[0]


def _on_by_colour(picture: Image.Image, name: str, *, lossy: bool) -> BoolArray | None:
    grey = _grey(picture)
    if grey is None:
        return _on_by_hue(_colours(picture))
    levels = _levels(grey)
    if lossy:
        return _on_by_half(grey, levels, lossy=True)
    if _are_two_values(levels):
        return np.asarray(grey != 0)
    if grey.dtype != np.uint8:
        grey = np.asarray(eight_bit(picture, name))
        levels = _levels(grey)
    return _on_by_half(grey, levels, lossy=False)


def _on_by_alpha(picture: Image.Image) -> BoolArray | None:
    """What transparency shows; None where it is the same everywhere or shows nothing."""
    if not picture.has_transparency_data:
        return None
    alpha = np.asarray(picture.convert("RGBA"))[..., 3]
    levels = _levels(alpha)
    if len(levels) == 1:
        return None
    return alpha != 0 if _are_two_values(levels) else _on_by_half(alpha, levels, lossy=False)


def _are_two_values(levels: NDArray[Any]) -> bool:
    """Whether they are 0 and one other value, or one of these alone; False with NaN and values below 0."""
    return len(levels) <= 2 and bool(levels[-1] >= levels[0] >= 0) and (len(levels) == 1 or levels[0] == 0)


def _on_by_half(grey: NDArray[Any], levels: NDArray[Any], *, lossy: bool) -> BoolArray | None:
    if lossy and len(levels) == 1 and not _NEARLY_BLACK < levels[0] < _NEARLY_WHITE:
        return np.asarray(grey >= _HALF)
    inner = levels[1:-1]
    has_edge = lossy or (len(inner) > 0 and inner[0] < _HALF <= inner[-1])
    if levels[0] > _NEARLY_BLACK or levels[-1] < _NEARLY_WHITE or not has_edge:
        return None
    return np.asarray(grey >= _HALF)


def _on_by_hue(colours: NDArray[np.uint8]) -> BoolArray | None:
    """All that is not black, where there is one other colour."""
    codes = colours.astype(np.uint32) @ np.array([1, 1 << 8, 1 << 16], dtype=np.uint32)
    return codes != 0 if _are_two_values(np.unique(codes)) else None


def _grey(picture: Image.Image) -> NDArray[Any] | None:
    """(H, W) grey values in the picture's own depth; None for a picture in colours."""
    if picture.mode in {"L", "F"} or picture.mode.startswith("I"):
        return np.asarray(picture)
    if picture.mode == "1":
        return np.asarray(picture.convert("L"))
    colours = _colours(picture)
    if picture.mode == "P" and (colours == colours[0, 0]).all() and np.ptp(np.asarray(picture)):
        return np.asarray(picture)  # the palette has one colour for several values
    spread = colours.max(axis=2) - colours.min(axis=2)
    return np.asarray(Image.fromarray(colours).convert("L")) if spread.max() <= _GREY_SPREAD else None


def _colours(picture: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(eight_bit(picture).convert("RGB"))


def _levels(grey: NDArray[Any]) -> NDArray[Any]:
    if grey.dtype == np.uint8:
        return np.flatnonzero(np.bincount(grey.reshape(-1), minlength=256))
    return np.unique(grey)


def _description(picture: Image.Image) -> str:
    grey = _grey(picture)
    if grey is None:
        return "it has several colours"
    levels = _levels(grey)
    shown = ", ".join(f"{level:g}" for level in levels[:4])
    return f"it has the values {shown}{' and more' if len(levels) > 4 else ''}"
