"""Masks as people save them: the pixels that are on are known in advance, or the mask is refused."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers import oriented_pictures as pictures
from vitrine.data.shards.masks import constant_remarks, encode_mask

SIZE = 48
ON = np.zeros((SIZE, SIZE), bool)
ON[8:24, 16:40] = True
RED, VOC_RED, GREEN = (255, 0, 0), (128, 0, 0), (0, 255, 0)


def encoded(pixels: Any, kind: str = "PNG", mode: str | None = None, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(buffer, format=kind, **options)
    return buffer.getvalue()


def read(data: bytes) -> np.ndarray:
    image = encode_mask(data, "m.png")
    stored = Image.open(io.BytesIO(image.data))
    assert (image.extension, stored.format, stored.mode, stored.size) == ("png", "PNG", "L", image.size)
    return np.asarray(stored) != 0


def grey(on: Any, off: Any = 0, kind: Any = np.uint8) -> np.ndarray:
    return np.where(ON, on, off).astype(kind)


def colours(on: tuple[int, ...], off: tuple[int, ...] = (0, 0, 0)) -> np.ndarray:
    return np.where(ON[..., None], on, off).astype(np.uint8)


def palette(indices: np.ndarray, *entries: tuple[int, int, int]) -> Image.Image:
    picture = Image.fromarray(indices).convert("P")
    picture.putdata(indices.reshape(-1).tolist())
    picture.putpalette([value for entry in entries for value in entry])
    return picture


def soft() -> np.ndarray:
    """The mask with an antialiased edge of three grey values."""
    values = grey(255)
    values[8, 16:40], values[23, 16:40], values[7, 16:40] = 200, 128, 90
    return values


def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


def with_alpha(picture: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return np.concatenate([picture, alpha[..., None]], axis=-1)


@pytest.mark.parametrize(
    "data",
    [
        *[encoded(grey(value)) for value in (1, 2, 38, 100, 128, 254, 255)],
        *[encoded(grey(255), kind) for kind in ("BMP", "TIFF", "GIF", "WEBP", "PPM", "TGA")],
        *[encoded(grey(value, kind=np.uint16)) for value in (1, 255, 4095, 65535)],
        encoded(grey(65535, kind=np.int32), "TIFF"),
        encoded(grey(1, kind=np.int32), "TIFF"),
        encoded(grey(1, kind=np.float32), "TIFF"),
        encoded(grey(255, kind=np.float32), "TIFF"),
        encoded(soft()),
        encoded(soft() / np.float32(255), "TIFF"),
        encoded(soft().astype(np.uint16) * 257),
        *[encoded(grey(255), mode=mode) for mode in ("1", "RGB", "RGBA", "LA", "P")],
        *[encoded(colours(colour)) for colour in (RED, VOC_RED, (1, 1, 1))],
        encoded(palette(grey(15), *[(0, 0, 0)] * 15, VOC_RED)),
        encoded(palette(grey(1), (0, 0, 0), (255, 255, 255))),
        encoded(palette(grey(0, 1), (255, 255, 255), (0, 0, 0))),  # a person sees white on black
        encoded(palette(grey(3), *[(0, 0, 0)] * 4)),  # a palette that shows nothing
        *[encoded(grey(255), "JPEG", quality=quality) for quality in (40, 75, 95)],
        encoded(colours((255, 255, 255)), "JPEG"),
        encoded(grey(255), "JPEG", mode="CMYK"),
        encoded(with_alpha(photo(), grey(255))),  # a cut-out
        encoded(with_alpha(photo(), soft())),
        encoded(with_alpha(np.zeros((SIZE, SIZE, 3), np.uint8), grey(255))),
        encoded(with_alpha(colours((255, 255, 255)), grey(255))),
        encoded(with_alpha(colours((255, 255, 255)), np.zeros((SIZE, SIZE), np.uint8))),
    ],
)
def test_what_is_on_is_known(data: bytes) -> None:
    assert np.array_equal(read(data), ON)


@pytest.mark.parametrize(
    "data",
    [
        encoded(np.where(soft() == 90, 255, grey(1))),  # a class, and 255 for pixels to ignore
        encoded(np.where(soft() == 90, 255, grey(15))),
        encoded(np.where(soft() == 90, 128, grey(255))),  # 128 for unknown
        encoded(palette(np.where(soft() == 90, 2, grey(1)), (0, 0, 0), VOC_RED, (224, 224, 192))),
        encoded(np.where(soft() == 90, 2, grey(1))),
        encoded(np.where((soft() == 90)[..., None], GREEN, colours(RED)).astype(np.uint8)),
        encoded(colours((255, 255, 255), RED)),
        encoded(grey(200, 50)),
        encoded(np.arange(SIZE * SIZE, dtype=np.uint16).reshape(SIZE, SIZE) % 150),  # classes
        encoded(grey(100), "JPEG", quality=60),
        encoded(photo()),
        encoded(grey(2, -1, np.float32), "TIFF"),
        encoded(grey(np.nan, kind=np.float32), "TIFF"),
        encoded(with_alpha(colours((255, 255, 255)), grey(0, 255))),  # what is on is transparent
    ],
)
def test_what_may_be_read_in_two_ways_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"^m\.png (does not show|has values)"):
        encode_mask(data, "m.png")


@pytest.mark.parametrize("top", [1, 255])
def test_an_8_bit_binary_mask_keeps_its_bytes(top: int) -> None:
    data = encoded(grey(top))
    assert encode_mask(data, "x").data == data


@pytest.mark.parametrize("tag", pictures.TAGS)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_a_mask_is_turned_by_its_own_orientation(kind: str, tag: int) -> None:
    on = read(pictures.encoded(pictures.stored_pixels(), kind, tag))
    assert np.array_equal(on, pictures.upright_of(pictures.stored_pixels() > 0, tag))


@pytest.mark.parametrize(
    ("make", "on"),
    [
        (lambda: encoded(grey(0)), False),
        (lambda: encoded(grey(255, 255)), True),
        (lambda: encoded(grey(1, 1)), True),
        (lambda: encoded(grey(255, 255), "JPEG"), True),
        (lambda: encoded(grey(0), "JPEG"), False),
        (lambda: encoded(grey(65535, 65535, np.uint16)), True),
        (lambda: encoded(with_alpha(colours((0, 0, 0)), grey(255, 255))), False),
    ],
)
def test_a_mask_of_one_value_is_told(make: Callable[[], bytes], on: bool) -> None:
    data = encode_mask(make(), "x").data
    assert (read(data) == on).all()
    assert constant_remarks(data) == [f"masks that are {'on' if on else 'off'} everywhere"]
    assert constant_remarks(encode_mask(encoded(grey(255)), "x").data) == []
