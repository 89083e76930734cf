"""The size of an image, without a look at its pixels."""

from pathlib import Path

from PIL import Image, UnidentifiedImageError


def read_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels, from the head of an image file.

    Raises:
        FileNotFoundError: The file is absent.
        ValueError: It is no image.
    """
    try:
        with Image.open(path) as picture:
            return picture.size
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist: restore the file, or remove its row from the set.") from None
    except UnidentifiedImageError:
        raise ValueError(f"{path} is no image that Pillow can read: replace or remove it.") from None
