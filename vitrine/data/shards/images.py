"""Encoding and decoding of images and object maps for shards."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from vitrine.data.colours import eight_bit
from vitrine.data.orientation import UPRIGHT, Orientation, Size, orientation_of, stored_size, upright

PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp", ".avif", ".tif", ".tiff", ".ppm", ".tga", ".jp2"}
)
"""Suffixes, in small letters, of the picture files that are read; of a file with several frames, the first."""

_STORED_FORMATS = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png"}  # an MPO is a JPEG followed by further images
_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA"})
_ANIMATED_FORMATS = frozenset({"AVIF", "GIF", "PNG", "TIFF", "WEBP"})  # further images of an MPO are previews


@dataclass(frozen=True)
class EncodedImage:
    """An image as it is stored in a shard: upright."""

    data: bytes
    extension: str
    width: int
    height: int
    orientation: Orientation = UPRIGHT
    """By which the pixels of its source were turned."""
    has_frames: bool = False
    """Whether its source has several frames or pages, of which it is the first."""

    @property
    def size(self) -> Size:
        """Width and height in pixels."""
        return self.width, self.height

    @property
    def source_size(self) -> Size:
        """Width and height of its source's pixels, before they were turned."""
        return self.orientation.turned_size(self.size)


@dataclass(frozen=True)
class DecodedImage:
    """The first frame of an image file, upright, in its own colour mode."""

    pixels: Image.Image
    format: str
    orientation: Orientation
    """By which the stored pixels were turned."""
    has_frames: bool
    """Whether the file has further frames or pages."""


def decode(data: bytes, name: str) -> Image.Image:
    """Decodes an image completely.

    Raises:
        ValueError: where the bytes are not a complete image; the message starts with ``name``.
    """
    try:
        picture = Image.open(io.BytesIO(data))
        picture.load()
    except UnidentifiedImageError:
        raise ValueError(f"{name} is no image that Pillow can read: replace or remove it.") from None
    except Exception as error:  # noqa: BLE001 - Pillow's decoders raise many kinds on broken input
        raise ValueError(f"{name} is a broken image ({error}): replace or remove it.") from None
    return picture


def decode_upright(data: bytes, name: str) -> DecodedImage:
    """Decodes an image and turns it upright by its EXIF orientation.

    Raises:
        ValueError: where the bytes are not a complete image; the message starts with ``name``.
    """
    picture = decode(data, name)
    orientation = orientation_of(picture)
    if picture.format == "TIFF":  # which `decode` has turned already
        with Image.open(io.BytesIO(data)) as header:
            orientation = orientation_of(header)
    has_frames = picture.format in _ANIMATED_FORMATS and _num_frames(data) > 1
    return DecodedImage(upright(picture), picture.format or "", orientation, has_frames)


def encode_image(data: bytes, name: str) -> EncodedImage:
    """Encodes an image upright: the bytes of an upright JPEG or PNG are kept, in any colour mode; all else becomes PNG.

    Other formats become PNG in 8 bits a channel (see `vitrine.data.colours`), turned images with all of their bits.

    Raises:
        ValueError: where the image is broken, or the range of its values is unknown.
    """
    image = decode_upright(data, name)
    extension = _STORED_FORMATS.get(image.format)
    if extension is None or image.orientation:
        data, extension = to_png(_in_png_mode(image, name)), "png"
    return EncodedImage(data, extension, *image.pixels.size, image.orientation, image.has_frames)


def encode_objects(data: bytes, name: str) -> EncodedImage:
    """Encodes a map of object ids as 16-bit grey PNG; the bytes of such a file are kept.

    Raises:
        ValueError: where the map is broken, has several channels, or ids outside 0 … 65535.
    """
    image = decode_upright(data, name)
    ids = np.asarray(image.pixels)
    if ids.ndim != 2 or ids.dtype.kind == "f" or ids.min() < 0 or ids.max() > np.iinfo(np.uint16).max:
        raise ValueError(f"{name} is no single-channel map of object ids from 0 to 65535: convert it first.")
    if image.orientation or not is_16_bit_png(image.pixels):
        data = to_png(Image.fromarray(ids.astype(np.uint16)))
    return EncodedImage(data, "png", *image.pixels.size, image.orientation)


def is_binary(mask: Image.Image) -> bool:
    """Whether the values of a grey image are 0 and 1, or 0 and 255."""
    values = {value for value, count in enumerate(mask.histogram()) if count}
    return values <= {0, 1} or values <= {0, 255}


def is_16_bit_png(picture: Image.Image) -> bool:
    """Whether an image was decoded from a 16-bit grey PNG (mode "I" in older releases of Pillow)."""
    return picture.format == "PNG" and picture.mode in {"I;16", "I"}


def _in_png_mode(image: DecodedImage, name: str) -> Image.Image:
    if image.pixels.mode in _PNG_MODES or (image.format == "PNG" and image.pixels.mode == "I;16"):
        return image.pixels
    picture = eight_bit(image.pixels, name)
    return picture if picture.mode in _PNG_MODES else picture.convert("RGB")


def _num_frames(data: bytes) -> int:
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return getattr(picture, "n_frames", 1)
    except Exception:  # noqa: BLE001 - later frames may be broken; only the first is used
        return 1


def to_png(picture: Image.Image) -> bytes:
    """The bytes of a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


@dataclass(frozen=True)
class ImageSize:
    """Size of an image file, from its header."""

    stored: Size
    """Width and height of its pixels in the file."""
    upright: Size
    """Width and height of the image once it is turned by its EXIF orientation."""


def read_size(path: Path) -> ImageSize:
    """Width and height in pixels, from the header of an image file.

    Raises:
        FileNotFoundError: where the file is absent.
        ValueError: where it is no image.
    """
    try:
        with Image.open(path) as picture:
            stored, orientation = stored_size(picture), orientation_of(picture)
            return ImageSize(stored, orientation.turned_size(stored))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist: restore the file, or remove it from the set.") from None
    except UnidentifiedImageError:
        raise ValueError(f"{path} is no image that Pillow can read: replace or remove it.") from None
    except Exception as error:  # noqa: BLE001 - Pillow raises many kinds on broken headers
        raise ValueError(f"{path} is a broken image ({error}): replace or remove it.") from None
