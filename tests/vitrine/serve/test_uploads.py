"""Uploaded files: what is taken, and the sentence for what is not."""

from pathlib import Path

import pytest
from PIL import Image

from vitrine.serve.uploads import check_upload


def check(path: Path, megabytes: int = 1, megapixels: int = 1) -> None:
    check_upload(path, max_megabytes=megabytes, max_megapixels=megapixels)


def test_a_picture_is_taken(photo: Path) -> None:
    check(photo)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"some notes", "is no picture that can be read; give a JPEG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is no picture"),
        (b"\x89PNG\r\n\x1a\n" + b"0" * 20, "is no picture"),
        (b"0" * 2_000_000, "has 1.9 MB, and this page takes up to 1 MB"),
    ],
)
def test_what_is_no_picture_is_refused(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"notes\.txt") as caught:
        check(path)
    assert says in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    ("size", "says"), [((1500, 1000), "1500 x 1000 pixels"), ((12_000, 10_000), "too many pixels")]
)
def test_too_many_pixels_are_refused_by_the_header(size: tuple[int, int], says: str, tmp_path: Path) -> None:
    path = tmp_path / "wide.png"
    Image.new("1", size).save(path)
    with pytest.raises(ValueError, match=says):
        check(path)
