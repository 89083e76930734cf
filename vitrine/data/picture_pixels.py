"""Pixels of a picture file: decoded, upright, in the colours of a network's input."""

import warnings
from pathlib import Path

from PIL import UnidentifiedImageError
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from vitrine.core.picture_files import PictureSizeError
from vitrine.data.colours import Mode, to_mode
from vitrine.data.plain_jpegs import plain_jpeg
from vitrine.data.shards.images import decode_upright


def picture_pixels(path: Path, mode: Mode = "RGB", *, warn: bool = True) -> Tensor:
    """(C, H, W) uint8 pixels of a picture; of an animation its first frame.

    Args:
        path: of the file.
        mode: colours of the pixels.
        warn: whether a warning tells of further frames.

    Raises:
        ValueError: where it is no picture that can be read, or too large; the sentence names the file.
    """
    try:
        data = path.read_bytes()
        if mode == "RGB" and (pixels := plain_jpeg(data)) is not None:
            return pixels
        image = decode_upright(data, str(path))
    except PictureSizeError:
        raise
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is no readable image ({_reason(error)}); mend or remove it.") from error
    if warn and image.has_frames:
        warnings.warn(f"{path} has several frames or pages; the first is taken.", stacklevel=2)
    decoded: Tensor = pil_to_tensor(to_mode(image.pixels, mode, str(path)))
    return decoded


def _reason(error: Exception) -> str:
    """What the decoder said, without the name of the file."""
    if isinstance(error.__context__, UnidentifiedImageError):
        return "none of the formats that Pillow knows"
    return str(error.__context__ or error)
