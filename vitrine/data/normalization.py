"""Normalisation of images by the mean and the standard deviation of each channel, a whole batch in one place."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F


def normalized(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(…, C, H, W) float32: (x − mean) / std of images in [0, 1], or in 8 bits, whose values are divided by 255 first.

    Args:
        images: (…, C, H, W) of any strides; the result's are plain.
        mean: of each channel.
        std: of each channel.
    """
    images = images.as_subclass(Tensor)
    if images.dtype != torch.uint8 or images.device.type != "cpu":
        values = F.to_dtype(images, torch.float32, scale=True)
        result: Tensor = F.normalize(values, list(mean), list(std))
        return result
    means, stds = (np.asarray(values, dtype=np.float32)[:, None, None] for values in (mean, std))
    filled = np.empty(tuple(images.shape), dtype=np.float32)  # NumPy asks for large pages, which are touched less often
    if filled.size:
        planes = images.shape[-3:]
        # One image at a time, all steps, so that its values stay in the processor's cache between them. By NumPy, on one
        # thread: torch's would wait for each other at each step while workers have the cores.
        for one, pixels in zip(filled.reshape(-1, *planes), images.reshape(-1, *planes).numpy(), strict=True):
            np.multiply(pixels, np.float32(1 / 255), out=one, dtype=np.float32)
            np.subtract(one, means, out=one)
            np.divide(one, stds, out=one)
    return torch.from_numpy(filled)
