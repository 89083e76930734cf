"""Encoding and decoding of images, masks and object maps for shards."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp", ".avif", ".tif", ".tiff", ".ppm", ".tga", ".jp2"}
)
"""Suffixes, in small letters, of the picture files that are read; of a file with several frames, the first."""

_STORED_FORMATS = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png"}  # an MPO is a JPEG followed by further images
_PNG_MODES = frozenset({"1", "L", "LA", "I;16", "P", "RGB", "RGBA"})


@dataclass(frozen=True)
class EncodedImage:
    """An image as it is stored in a shard."""

    data: bytes
    extension: str
    width: int
    height: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.width, self.height


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


def encode_image(data: bytes, name: str) -> EncodedImage:
    """Encodes an image: the bytes of a JPEG or PNG are kept, in any colour mode; other formats become PNG.

    Raises:
        ValueError: where the image is broken.
    """
    picture = decode(data, name)
    extension = _STORED_FORMATS.get(picture.format or "")
    if extension is None:
        data, extension = _to_png(_in_png_mode(picture, name)), "png"
    return EncodedImage(data, extension, *picture.size)


def encode_mask(data: bytes, name: str) -> EncodedImage:
    """Encodes a binary mask as 8-bit grey PNG; the bytes of such a file are kept.

    Raises:
        ValueError: where the mask is broken, or has values other than 0 and 1, or 0 and 255.
    """
    picture = decode(data, name)
    grey = picture if picture.mode == "L" else picture.convert("L")
    if not is_binary(grey):
        raise ValueError(f"{name} has values other than 0 and 255 (or 0 and 1): threshold the mask first.")
    is_encoded = picture.format == "PNG" and picture.mode == "L"
    return EncodedImage(data if is_encoded else _to_png(grey), "png", *picture.size)


def encode_objects(data: bytes, name: str) -> EncodedImage:
    """Encodes a map of object ids as 16-bit grey PNG; the bytes of such a file are kept.

    Raises:
        ValueError: where the map is broken, has several channels, or ids outside 0 … 65535.
    """
    picture = decode(data, name)
    ids = np.asarray(picture)
    if ids.ndim != 2 or ids.dtype.kind == "f" or ids.min() < 0 or ids.max() > np.iinfo(np.uint16).max:
        raise ValueError(f"{name} is no single-channel map of object ids from 0 to 65535: convert it first.")
    if not is_16_bit_png(picture):
        data = _to_png(Image.fromarray(ids.astype(np.uint16)))
    return EncodedImage(data, "png", *picture.size)


def is_binary(mask: Image.Image) -> bool:
    """Whether the values of a grey image are 0 and 1, or 0 and 255."""
    values = {value for value, count in enumerate(mask.histogram()) if count}
    return values <= {0, 1} or values <= {0, 255}


def is_16_bit_png(picture: Image.Image) -> bool:
    """Whether an image was decoded from a 16-bit grey PNG (mode "I" in older releases of Pillow)."""
    return picture.format == "PNG" and picture.mode in {"I;16", "I"}


def _in_png_mode(picture: Image.Image, name: str) -> Image.Image:
    if picture.mode in _PNG_MODES:
        return picture
    try:
        return picture.convert("RGB")
    except ValueError:
        raise ValueError(f"{name} has the mode {picture.mode}, which becomes no PNG: convert it first.") from None


def _to_png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def read_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels, from the header of an image file.

    Raises:
        FileNotFoundError: where the file is absent.
        ValueError: where it is no image.
    """
    try:
        with Image.open(path) as picture:
            return picture.size
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist: restore the file, or remove it from the set.") from None
    except UnidentifiedImageError:
        raise ValueError(f"{path} is no image that Pillow can read: replace or remove it.") from None
