"""JPEGs decoded straight to tensors have Pillow's pixels; all that is not plain is left to Pillow."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2.functional import pil_to_tensor

from vitrine.core.picture_files import VARIABLE
from vitrine.data import plain_jpegs
from vitrine.data.plain_jpegs import plain_jpeg


def picture(mode: str = "RGB", size: tuple[int, int] = (53, 37)) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).convert(mode)


def jpeg(mode: str = "RGB", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture(mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def turned(tag: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = tag
    return jpeg(exif=exif)


@pytest.mark.parametrize(
    "options",
    [
        *({"quality": quality, "subsampling": kind} for quality in (5, 75, 100) for kind in (0, 1, 2)),
        {"progressive": True},
        {"optimize": True},
        {"comment": "x" * 999},
        {"icc_profile": b"p" * 3000},
        {"keep_rgb": True},
        {"restart_marker_blocks": 2},
        {"xmp": b"<x:xmpmeta/>"},
    ],
)
def test_pixels_are_those_of_pillow(options: dict[str, Any]) -> None:
    data = jpeg(**options)
    pixels = plain_jpeg(data)
    assert pixels is not None
    assert torch.equal(pixels, pil_to_tensor(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("tag", range(10))
def test_only_upright_pictures_are_plain(tag: int) -> None:
    assert (plain_jpeg(turned(tag)) is None) == (2 <= tag <= 8)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_channels_are_left_to_pillow(mode: str) -> None:
    assert plain_jpeg(jpeg(mode)) is None


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "TIFF", "WEBP"])
def test_other_formats_are_left_to_pillow(kind: str) -> None:
    buffer = io.BytesIO()
    picture().save(buffer, kind)
    assert plain_jpeg(buffer.getvalue()) is None


def test_what_pillow_refuses_is_left_to_it() -> None:
    """A JPEG that is cut off anywhere, or damaged, is never read where Pillow does not read the same of it."""
    whole = jpeg()
    generator = np.random.default_rng(1)
    damaged = [whole[:length] for length in range(0, len(whole), 7)]
    for place, value in zip(generator.integers(2, len(whole), 300), generator.integers(0, 256, 300), strict=True):
        damaged.append(whole[:place] + bytes([value]) + whole[place + 1 :])
    decoded = 0
    for data in damaged:
        pixels = plain_jpeg(data)
        if pixels is not None:
            decoded += 1
            assert torch.equal(pixels, pil_to_tensor(Image.open(io.BytesIO(data)).convert("RGB")))
    assert decoded > 50


def test_too_large_pictures_are_left_to_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(53 * 37))
    assert plain_jpeg(jpeg()) is not None
    monkeypatch.setenv(VARIABLE, str(53 * 37 - 1))
    assert plain_jpeg(jpeg()) is None


def test_a_torchvision_without_the_operator_leaves_all_to_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    assert plain_jpeg(jpeg()) is not None

    def absent(_: bytes) -> None:
        raise AttributeError("'_OpNamespace' 'image' object has no attribute 'decode_jpeg'")

    monkeypatch.setattr(plain_jpegs, "decode_rgb", absent)
    assert plain_jpeg(jpeg()) is None
