"""Bare decoders: from the bytes of a JPEG to the 8-bit square of a network's input, in as few library calls as it takes."""

from collections.abc import Callable, Mapping
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from vitrine.data.plain_jpegs import decode_rgb

SIZE, RESIZE = 224, 256
Decoder = Callable[[bytes], Tensor]
"""(3, 224, 224) uint8 from the bytes of a JPEG."""


def square(pixels: Tensor) -> Tensor:
    """The centre crop of pixels that are resized with antialiasing, in 8 bits throughout."""
    cropped: Tensor = F.center_crop(F.resize(pixels, [RESIZE], antialias=True), [SIZE, SIZE])
    return cropped


def by_torchvision(data: bytes) -> Tensor:
    """Torchvision's decoder and resize."""
    return square(decode_rgb(data))


def by_pillow(data: bytes) -> Tensor:
    """Pillow's decoder, torchvision's resize."""
    return square(F.pil_to_tensor(Image.open(BytesIO(data)).convert("RGB")))


def by_pillow_alone(data: bytes) -> Tensor:
    """Pillow's decoder and resize, of what the crop keeps alone."""
    picture = Image.open(BytesIO(data)).convert("RGB")
    scale = min(picture.size) / RESIZE
    resized = [int(side / scale) for side in picture.size]
    pixels = [side / length for side, length in zip(picture.size, resized, strict=True)]  # of the source, for one
    left, top = (round((length - SIZE) / 2) * step for length, step in zip(resized, pixels, strict=True))
    box = (left, top, left + SIZE * pixels[0], top + SIZE * pixels[1])
    cropped: Tensor = F.pil_to_tensor(picture.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box))
    return cropped


def by_opencv(data: bytes) -> Tensor:
    """OpenCV's decoder, torchvision's resize."""
    import cv2  # noqa: PLC0415 - an extra

    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    return square(torch.from_numpy(pixels).permute(2, 0, 1))


def decoders() -> Mapping[str, Decoder]:
    """Those that are installed, by name."""
    found = {"torchvision": by_torchvision, "Pillow, torchvision's resize": by_pillow, "Pillow alone": by_pillow_alone}
    try:
        import cv2  # noqa: PLC0415
    except ImportError:
        return found
    cv2.setNumThreads(1)
    return {**found, "OpenCV, torchvision's resize": by_opencv}
