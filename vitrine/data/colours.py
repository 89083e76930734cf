"""Conversion of pictures of any mode to 8-bit colours, by the range of their type."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

_EIGHT_BIT = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"})
_CONVERTIBLE = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA"})
"""Modes that Pillow converts to grey, and to RGB with opacity."""
_PREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}
_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_WHITE_IS_ZERO, _SIGNED = 0, 2
_SIXTEEN_BIT_FORMATS = frozenset({"PNG", "PPM"})
"""Formats whose whole numbers of mode "I" have 16 bits: older releases of Pillow read 16-bit PNGs so."""
_TOP = 65535


Mode = Literal["RGB", "L", "RGBA"]
"""Colour mode of a network's input: three channels, one of grey, or four with opacity."""
NUM_CHANNELS: Mapping[Mode, int] = {"RGB": 3, "L": 1, "RGBA": 4}


def to_mode(picture: Image.Image, mode: Mode, name: str = "") -> Image.Image:
    """As `to_rgb`, in 8-bit grey, or with the opacity of each pixel, which is 255 where the picture has no transparency."""
    colours = eight_bit(picture, name)
    if mode != "RGB" and colours.mode not in _CONVERTIBLE:
        colours = colours.convert("RGB")
    if isinstance(colours.info.get("transparency"), bytes):
        colours = colours.convert(
            "RGBA"
        )  # of each colour of a palette; Pillow warns where it is dropped with the palette
    return colours.convert(mode)


def to_rgb(picture: Image.Image, name: str = "") -> Image.Image:
    """The 8-bit RGB colours of a picture; transparency is dropped, so that hidden colours show.

    16-bit pictures are scaled from 0 … 65535 (12-bit TIFFs from 0 … 4095), floats from 0 … 1.

    Args:
        picture: of any mode of Pillow.
        name: of the picture in messages; its file's name without it.

    Raises:
        ValueError: where the range of its values is unknown: floats outside 0 … 1, NaN, signed whole numbers of 8 or 16
            bits, those of 32 bits above 65535 or all below 256, or colours that Pillow cannot convert.
    """
    return to_mode(picture, "RGB", name)


def eight_bit(picture: Image.Image, name: str = "") -> Image.Image:
    """A picture in a mode of 8 bits a channel; the arguments and errors are those of `to_rgb`."""
    name = name or str(getattr(picture, "filename", "")) or "The picture"
    if _is_signed(picture):
        raise ValueError(f"{name} has signed whole numbers, of which black and white are not known: save it unsigned.")
    if picture.mode in _EIGHT_BIT:
        return picture
    if picture.mode in _PREMULTIPLIED:
        return picture.convert(_PREMULTIPLIED[picture.mode])
    if picture.mode == "F":
        return _from_floats(picture, name)
    if picture.mode.startswith("I"):
        return _from_whole_numbers(picture, name)
    raise ValueError(f"{name} has the mode {picture.mode}, which has no known RGB colours: convert it first.")


def _from_floats(picture: Image.Image, name: str) -> Image.Image:
    values = np.asarray(picture, dtype=np.float64)
    if not (values.min() >= 0 and values.max() <= 1):  # also for NaN
        raise _unknown_range(values, name, "floats")
    return Image.fromarray(np.floor(_from_black(values, 1, picture) * 255 + 0.5).astype(np.uint8))


def _from_whole_numbers(picture: Image.Image, name: str) -> Image.Image:
    values = np.asarray(picture).astype(np.int64)
    top = _top(picture)
    if top is None:
        # 32 bits: values that are all below 256 may be of 8 bits or of 16, so that only larger ones tell.
        if values.min() < 0 or values.max() > _TOP or 0 < values.max() < 256:
            raise _unknown_range(values, name, "32-bit whole numbers")
        top = _TOP
    return Image.fromarray(((_from_black(values, top, picture) * 510 + top) // (2 * top)).astype(np.uint8))


def _top(picture: Image.Image) -> int | None:
    """The value of white; None where the file does not tell."""
    if isinstance(picture, TiffImagePlugin.TiffImageFile) and picture.mode != "I":
        return int(2 ** picture.tag_v2.get(_BITS_PER_SAMPLE, (16,))[0]) - 1
    if picture.mode == "I" and picture.format not in _SIXTEEN_BIT_FORMATS:
        return None
    return _TOP


def _is_signed(picture: Image.Image) -> bool:
    """Whether a TIFF has signed numbers of 8 or 16 bits, whose white may be half or all of the range."""
    if not isinstance(picture, TiffImagePlugin.TiffImageFile):
        return False
    bits = picture.tag_v2.get(_BITS_PER_SAMPLE, (1,))[0]
    return bits <= 16 and _SIGNED in picture.tag_v2.get(_SAMPLE_FORMAT, ())


def _from_black(values: NDArray[Any], top: int, picture: Image.Image) -> NDArray[Any]:
    """Values that rise from black; Pillow leaves a TIFF whose white is 0 as it is, except for 8 bits."""
    if isinstance(picture, TiffImagePlugin.TiffImageFile) and picture.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        return top - values
    return values


def _unknown_range(values: NDArray[Any], name: str, kind: str) -> ValueError:
    return ValueError(
        f"{name} has values from {values.min():g} to {values.max():g} as {kind}, of which black and white are not known:"
        " save it with 8 or 16 bits a channel, or as floats from 0 to 1."
    )
