"""8-bit colours of pictures in every mode of Pillow, against numpy."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vitrine.data.colours import eight_bit, to_mode, to_rgb

WIDE = np.array([[0, 1, 128, 129, 257, 32767, 65406, 65407, 65535]], np.uint16)
RIGHT = np.rint(WIDE / 257).astype(np.uint8)


def saved(picture: Image.Image, kind: str, **options: Any) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, format=kind, **options)
    return Image.open(io.BytesIO(buffer.getvalue()))


def grey(picture: Image.Image) -> np.ndarray:
    colours = np.asarray(to_rgb(picture, "x.png"))
    assert (colours == colours[..., :1]).all()
    return colours[..., 0]


WHITE_IS_ZERO = {"tiffinfo": {262: 0}}


@pytest.mark.parametrize(
    ("values", "kind", "options", "right"),
    [
        (WIDE, "PNG", {}, RIGHT),
        (WIDE, "TIFF", {}, RIGHT),
        (WIDE.astype(">u2"), "TIFF", {}, RIGHT),
        (WIDE, "PPM", {}, RIGHT),
        (WIDE, "JPEG2000", {}, RIGHT),
        (WIDE, "TIFF", WHITE_IS_ZERO, 255 - RIGHT),
        (WIDE.astype(np.int32), "TIFF", {}, RIGHT),
        (WIDE.astype(np.int32), "PPM", {}, RIGHT),
        (np.zeros((2, 2), np.int32), "TIFF", {}, np.zeros((2, 2))),
        (np.array([[0, 0.25, 0.5, 1]], np.float32), "TIFF", {}, [[0, 64, 128, 255]]),
        (np.array([[0, 0.25, 0.5, 1]], np.float32), "TIFF", WHITE_IS_ZERO, [[255, 191, 128, 0]]),
    ],
)
def test_wide_values_are_scaled_by_their_range(values: Any, kind: str, options: dict[str, Any], right: Any) -> None:
    assert np.array_equal(grey(saved(Image.fromarray(values), kind, **options)), right)


def test_a_tiff_of_12_bits_is_white_at_4095() -> None:
    picture = saved(Image.fromarray(np.zeros((1, 4), np.uint16)), "TIFF")
    values = np.array([[0, 2048, 4000, 4095]], np.uint16)
    for row, value in enumerate(values[0]):
        picture.putpixel((row, 0), int(value))
    picture.tag_v2[258] = (12,)  # type: ignore[attr-defined]
    assert np.array_equal(grey(picture), np.rint(values / 4095 * 255))


@pytest.mark.parametrize(
    ("values", "range_"),
    [
        (np.array([[0, 65536]], np.int32), "from 0 to 65536 as 32-bit whole numbers"),
        (np.array([[-1, 300]], np.int32), "from -1 to 300"),
        (np.array([[0, 255]], np.int32), "from 0 to 255"),  # of 8 bits, or dark ones of 16
        (np.array([[0, 255]], np.float32), "from 0 to 255 as floats"),
        (np.array([[-0.5, 1]], np.float32), "from -0.5 to 1"),
        (np.array([[0.5, np.nan]], np.float32), "nan"),
        (np.array([[0, np.inf]], np.float32), "inf"),
    ],
)
def test_values_of_an_unknown_range_are_refused(values: np.ndarray, range_: str) -> None:
    picture = saved(Image.fromarray(values), "TIFF")
    with pytest.raises(ValueError, match=rf"^x\.tif has values .*{range_}"):
        to_rgb(picture, "x.tif")


@pytest.mark.parametrize(("kind", "mode"), [(np.uint8, "L"), (np.uint16, "I;16")])
def test_signed_values_are_refused(kind: Any, mode: str) -> None:
    picture = saved(Image.fromarray(np.array([[0, 200]], kind)), "TIFF", tiffinfo={339: 2})
    picture.tag_v2[339] = (2,)  # type: ignore[attr-defined]
    assert picture.mode in {mode, "I"}
    with pytest.raises(ValueError, match=r"x\.tif has signed whole numbers"):
        to_rgb(picture, "x.tif")


def test_a_picture_is_named_by_its_file(tmp_path: Any) -> None:
    Image.fromarray(np.full((2, 2), 7, np.float32)).save(tmp_path / "a.tif")
    with Image.open(tmp_path / "a.tif") as picture, pytest.raises(ValueError, match=r"a\.tif has values"):
        to_rgb(picture)
    with pytest.raises(ValueError, match=r"The picture has the mode LAB"):
        to_rgb(Image.new("LAB", (2, 2)))


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"]
)
def test_other_modes_keep_their_colours(mode: str) -> None:
    colours = np.array([[[255, 0, 0], [0, 0, 0], [255, 255, 255], [0, 0, 255]]], np.uint8)
    if mode in {"1", "L", "LA", "La"}:
        colours = colours[..., 1:2].repeat(3, axis=-1)
    source = Image.fromarray(colours)
    through = {"La": "LA", "RGBa": "RGBA", "PA": "P"}.get(mode)
    picture = (source.convert(through) if through else source).convert(mode)
    assert picture.mode == mode
    assert np.abs(np.asarray(to_rgb(picture)).astype(int) - colours).max() <= 2
    assert eight_bit(picture).convert("RGB").tobytes() == to_rgb(picture).tobytes()


def test_cmyk_of_a_jpeg_is_what_its_inks_show() -> None:
    """Pillow stores them inverted, as Adobe does, and R is (255 - C)(255 - K) / 255."""
    inks = np.array([200, 30, 0, 100], np.uint8)
    picture = saved(Image.fromarray(np.tile(inks, (8, 8, 1)), mode="CMYK"), "JPEG", quality=100, subsampling=0)
    right = (255 - inks[:3].astype(float)) * (255 - 100) / 255
    assert picture.mode == "CMYK"
    assert np.abs(np.asarray(to_rgb(picture))[4, 4] - right).max() <= 3


def test_transparency_of_a_palette_is_dropped_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    source = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    source.putdata([0, 1])
    source.putpalette([9, 8, 7, 60, 50, 40])
    picture = saved(source, "PNG", transparency=b"\x00\x80")
    assert np.asarray(to_rgb(picture)).tolist() == [[[9, 8, 7], [60, 50, 40]]]
    assert np.asarray(to_mode(picture, "RGBA"))[..., 3].tolist() == [[0, 128]]
    assert not recwarn.list


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_dropped_in_every_format(mode: str) -> None:
    pixels = np.array([[[200, 200, 200, 0], [40, 40, 40, 255]]], np.uint8)
    picture = Image.fromarray(pixels)
    for kind in ("PNG", "TIFF") if mode != "P" else ("PNG", "GIF"):
        if mode == "P":
            source = Image.fromarray(pixels[..., 0]).convert("P")
            found = saved(source, kind, transparency=int(np.asarray(source)[0, 0]))
        else:
            found = saved(picture.convert(mode), kind)
        assert grey(found).tolist() == [[200, 40]]
