import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from vitrine.data.shards.images import encode_image, encode_mask, encode_objects


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


@pytest.mark.parametrize("top", [1, 255])
def test_an_8_bit_binary_mask_keeps_its_bytes(top: int) -> None:
    data = encoded(np.array([[0, top], [top, top]], dtype=np.uint8))
    assert encode_mask(data, "x").data == data


def test_a_mask_in_another_form_becomes_8_bit_grey() -> None:
    on = np.array([[True, False], [False, False]])
    for data in (encoded(on), encoded(np.uint8(255) * on[..., None].repeat(3, -1), "BMP")):
        stored = Image.open(io.BytesIO(encode_mask(data, "x").data))
        assert (stored.mode, np.asarray(stored).tolist()) == ("L", [[255, 0], [0, 0]])


def test_a_mask_with_grey_values_is_refused() -> None:
    for values in ([[0, 128]], [[0, 1], [255, 0]]):
        with pytest.raises(ValueError, match=r"^m\.png has values other than 0 and 255"):
            encode_mask(encoded(np.array(values, dtype=np.uint8)), "m.png")


def test_object_ids_are_16_bit_whatever_their_source() -> None:
    wide = encoded(np.array([[0, 3000]], dtype=np.uint16))
    assert encode_objects(wide, "x").data == wide
    stored = Image.open(io.BytesIO(encode_objects(encoded(np.array([[0, 30]], dtype=np.uint8)), "x").data))
    assert stored.mode in {"I;16", "I"}
    assert np.asarray(stored).tolist() == [[0, 30]]


def test_object_ids_with_channels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^o\.png is no single-channel map"):
        encode_objects(encoded(np.zeros((2, 2, 3), dtype=np.uint8)), "o.png")
