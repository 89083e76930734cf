"""Uploaded files: pictures of a bounded size, or a sentence for the page."""

from pathlib import Path

from PIL import Image, UnidentifiedImageError

from vitrine.core.picture_files import PictureSizeError, open_picture

GIVE = "give a JPEG, PNG, WebP or another picture"


def check_upload(path: Path, *, max_megabytes: int, max_megapixels: int) -> None:
    """Makes sure, by its size and header alone, that a file is a picture that may be decoded.

    Raises:
        ValueError: with a sentence that names the file, not its place on this machine.
    """
    size = path.stat().st_size
    if not size:
        raise ValueError(f"{path.name} is empty; {GIVE}.")
    if size > max_megabytes * 2**20:
        raise ValueError(
            f"{path.name} has {size / 2**20:.1f} MB, and this page takes up to {max_megabytes} MB; save it smaller."
        )
    try:
        with open_picture(path) as picture:
            width, height = picture.size
    except PictureSizeError as error:
        raise ValueError(f"{path.name} has too many pixels; shrink it to {max_megapixels} million.") from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path.name} is no picture that can be read; {GIVE}.") from error
    if width * height > max_megapixels * 10**6:
        raise ValueError(
            f"{path.name} is {width} x {height} pixels, and this page takes up to {max_megapixels} million; shrink it."
        )
