import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers import oriented_pictures as pictures
from vitrine.data.colours import eight_bit, to_rgb
from vitrine.data.shards.images import PICTURE_SUFFIXES, encode_image, encode_objects, read_size


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("mode", "kind", "extension"),
    [
        ("RGB", "JPEG", "jpg"),
        ("L", "JPEG", "jpg"),
        ("CMYK", "JPEG", "jpg"),
        ("RGB", "PNG", "png"),
        ("L", "PNG", "png"),
        ("RGBA", "PNG", "png"),
    ],
)
def test_jpeg_and_png_keep_their_bytes(picture: Callable[..., bytes], mode: str, kind: str, extension: str) -> None:
    data = picture(3, mode=mode, kind=kind)
    image = encode_image(data, "x")
    assert (image.data, image.extension, image.size) == (data, extension, (8, 6))


@pytest.mark.parametrize(("mode", "kind"), [("RGB", "BMP"), ("RGB", "PPM"), ("RGBA", "TIFF"), ("CMYK", "TIFF")])
def test_other_formats_become_png_with_the_same_pixels(picture: Callable[..., bytes], mode: str, kind: str) -> None:
    data = picture(3, mode=mode, kind=kind)
    image = encode_image(data, "x")
    stored, source = Image.open(io.BytesIO(image.data)), Image.open(io.BytesIO(data))
    assert (image.extension, stored.format, image.size) == ("png", "PNG", (8, 6))
    assert np.array_equal(np.asarray(stored.convert("RGB")), np.asarray(source.convert("RGB")))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP"])
def test_a_truncated_image_is_named(picture: Callable[..., bytes], kind: str) -> None:
    data = picture(3, size=(64, 64), kind=kind)
    with pytest.raises(ValueError, match=r"^birds/x is a broken image"):
        encode_image(data[: len(data) * 2 // 3], "birds/x")


@pytest.mark.parametrize("data", [b"", b"no image"])
def test_what_is_no_image_is_named(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"^birds/x is no image that Pillow can read"):
        encode_image(data, "birds/x")


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_16_bit_image_keeps_its_greys(kind: str) -> None:
    values = np.array([[0, 257, 65535], [32768, 128, 129]], np.uint16)
    image = encode_image(encoded(values, kind), "x")
    assert np.array_equal(np.asarray(eight_bit(Image.open(io.BytesIO(image.data)))), np.rint(values / 257))
    turned = encode_image(pictures.encoded(values, kind, 6), "x")
    assert np.array_equal(
        np.asarray(eight_bit(Image.open(io.BytesIO(turned.data)))), np.rint(np.rot90(values, -1) / 257)
    )


def test_an_image_of_an_unknown_range_is_named() -> None:
    with pytest.raises(ValueError, match=r"^birds/x has values from 0 to 300 as floats"):
        encode_image(encoded(np.array([[0, 300]], np.float32), "TIFF"), "birds/x")


@pytest.mark.parametrize(("kind", "extension"), [("GIF", "png"), ("TIFF", "png"), ("PNG", "png"), ("WEBP", "png")])
def test_of_several_frames_the_first_is_taken(kind: str, extension: str) -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ((255, 0, 0), (0, 0, 255), (0, 255, 0))]
    buffer = io.BytesIO()
    frames[0].save(buffer, format=kind, save_all=True, append_images=frames[1:], **WHOLE.get(kind, {}))
    image = encode_image(buffer.getvalue(), "x")
    assert (image.extension, image.has_frames) == (extension, True)
    assert np.asarray(to_rgb(Image.open(io.BytesIO(image.data)))).reshape(-1, 3).tolist() == [[255, 0, 0]] * 48


WHOLE = {"WEBP": {"lossless": True}}


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        (".jpg", "JPEG"), (".jpeg", "JPEG"), (".jfif", "JPEG"), (".png", "PNG"), (".bmp", "BMP"), (".gif", "GIF"),
        (".webp", "WEBP"), (".avif", "AVIF"), (".tif", "TIFF"), (".tiff", "TIFF"), (".ppm", "PPM"), (".tga", "TGA"),
        (".jp2", "JPEG2000"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [(8, 6), (1, 1), (1, 5000)])
def test_every_suffix_is_read(suffix: str, kind: str, size: tuple[int, int]) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 60, 20)).save(buffer, format=kind)
    image = encode_image(buffer.getvalue(), "x")
    colours = np.asarray(to_rgb(Image.open(io.BytesIO(image.data)))).astype(int)
    assert suffix in PICTURE_SUFFIXES
    assert (image.size, image.has_frames) == (size, False)
    assert np.abs(colours - [200, 60, 20]).max() <= 6


def test_every_suffix_has_a_test() -> None:
    (marks,) = (mark for mark in test_every_suffix_is_read.pytestmark if mark.args[0] == ("suffix", "kind"))  # type: ignore[attr-defined]
    assert {suffix for suffix, _ in marks.args[1]} == PICTURE_SUFFIXES


@pytest.mark.parametrize("tag", [1, 3, 8])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_sizes_are_read_from_the_header(kind: str, tag: int, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(pictures.encoded(pictures.stored_pixels(), kind, tag))
    size = read_size(path)
    assert (size.stored, size.upright) == ((40, 24), (24, 40) if tag == 8 else (40, 24))


def test_object_ids_are_16_bit_whatever_their_source() -> None:
    wide = encoded(np.array([[0, 3000]], dtype=np.uint16))
    assert encode_objects(wide, "x").data == wide
    stored = Image.open(io.BytesIO(encode_objects(encoded(np.array([[0, 30]], dtype=np.uint8)), "x").data))
    assert stored.mode in {"I;16", "I"}
    assert np.asarray(stored).tolist() == [[0, 30]]


def test_object_ids_with_channels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^o\.png is no single-channel map"):
        encode_objects(encoded(np.zeros((2, 2, 3), dtype=np.uint8)), "o.png")
