"""The size of a picture is judged by its header, in every format, before a pixel is decoded."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, UnidentifiedImageError

from vitrine.core import picture_files
from vitrine.core.picture_files import VARIABLE, PictureSizeError, open_picture


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")


def patched(kind: str, places: dict[int, str], width: int, height: int) -> bytes:
    """A small picture whose header says another size."""
    buffer = io.BytesIO()
    Image.new("RGB", (7, 5)).save(buffer, kind)
    data = bytearray(buffer.getvalue())
    for place, field in places.items():
        struct.pack_into(field, data, place, width, height)
    return bytes(data)


def tiff(width: int, height: int) -> bytes:
    entries = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (279, 4, 1)]
    packed = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return struct.pack("<2sHI", b"II", 42, 8) + struct.pack("<H", len(entries)) + packed + bytes(4)


def jpeg(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (7, 5)).save(buffer, "JPEG")
    return buffer.getvalue().replace(struct.pack(">HH", 5, 7), struct.pack(">HH", height, width), 1)


KINDS: dict[str, Callable[[int, int], bytes]] = {
    "PNG": png,
    "JPEG": jpeg,
    "TIFF": tiff,
    "BMP": lambda width, height: patched("BMP", {18: "<ii"}, width, height),
    "GIF": lambda width, height: patched("GIF", {6: "<HH"}, width, height),
    "TGA": lambda width, height: patched("TGA", {12: "<HH"}, width, height),
    "PPM": lambda width, height: f"P6 {width} {height} 255\n".encode() + bytes(9),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("size", "told"), [((10000, 9000), "10000 x 9000 pixels"), ((40000, 40000), "1600000000 pixels")]
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_too_many_pixels_are_refused_by_the_header(kind: str, size: tuple[int, int], told: str) -> None:
    with pytest.raises(PictureSizeError, match=rf"{told}.*{VARIABLE}") as refused:
        open_picture(io.BytesIO(KINDS[kind](*size)))
    assert "89478485" in str(refused.value)


@pytest.mark.parametrize("kind", KINDS)
def test_large_pictures_within_the_bound_are_opened(kind: str) -> None:
    assert open_picture(io.BytesIO(KINDS[kind](9000, 9000))).size == (9000, 9000)


def test_postscript_is_not_run() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (7, 5)).save(buffer, "EPS")
    buffer.seek(0)
    with pytest.raises(UnidentifiedImageError, match="PostScript"):
        open_picture(buffer)


@pytest.mark.parametrize(("value", "size"), [("90000000", (10000, 9000)), ("2000000000", (40000, 40000))])
def test_the_environment_moves_the_bound(
    value: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "large.png").write_bytes(png(*size))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    monkeypatch.setenv(VARIABLE, value)
    assert open_picture(tmp_path / "large.png").size == size
    monkeypatch.setenv(VARIABLE, "100")
    with pytest.raises(PictureSizeError, match="9 x 12 pixels, more than 100"):
        open_picture(io.BytesIO(png(9, 12)))


@pytest.mark.parametrize("value", ["", "0", "-5", "1e9", "many", "９"])
def test_a_bound_that_is_none(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(ValueError, match=rf"{VARIABLE} is '{value}'"):
        picture_files.max_pixels()
