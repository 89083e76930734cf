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
    means, stds = (torch.tensor(values, dtype=torch.float32)[:, None, None] for values in (mean, std))
    result = _large(images.shape)
    if result.numel():
        planes = images.shape[-3:]
        # One image at a time, all steps, so that its values stay in the processor's cache between them.
        for one, pixels in zip(result.view(-1, *planes), images.reshape(-1, *planes), strict=True):
            one.copy_(pixels).mul_(1 / 255).sub_(means).div_(stds)
    return result


def _large(shape: Sequence[int]) -> Tensor:
    """Memory for a batch. NumPy asks for large pages, of which a batch touches a few hundred times fewer."""
    return torch.from_numpy(np.empty(tuple(shape), dtype=np.float32))
