"""Smooth masks by max-convolution (Fong, Patrick and Vedaldi, ICCV 2019)."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrine.core.image_ops import interpolation_matrix, separable_filter


def kernel(distances: Tensor, sigma: float) -> Tensor:
    """Kernel k at distances in pixels: exp(−max(0, z − 1)²/4) with z = 3·distance/σ, and 0 from 2σ on.

    It is 1 up to σ/3, 1/e at σ, and truncated where it is 0.002.
    """
    values = torch.exp(-((3 * distances / sigma - 1).clamp(min=0) ** 2) / 4)
    return values * (distances < 2 * sigma)


def smooth_maximum(values: Tensor, dim: int, temperature: float) -> Tensor:
    """Σ f exp(f/T) / Σ exp(f/T) along a dimension: the maximum for T → 0, the mean for T → ∞."""
    return (values * (values / temperature).softmax(dim=dim)).sum(dim=dim)


def smooth_masks(seeds: Tensor, size: Sequence[int], step: int, sigma: float, temperature: float) -> Tensor:
    """Max-convolution m(u) = smax_v k(u − v) m̄(v): masks that are as smooth as the kernel is.

    The points v lie ``step`` pixels apart, each in the middle of its cell. m̄ is mirrored at the borders of the image, so that
    a constant m̄ gives a mask without a border. The maximum at a pixel is over the points of the square of cells that
    holds the kernel's support.

    Args:
        seeds: m̄, (R, 1, h, w) in [0, 1].
        size: (H, W). Masks of (h·step, w·step) pixels are resized if that is another size.
        step: pixels from point to point.
        sigma: of the kernel, in pixels.
        temperature: T of the smooth maximum.

    Returns:
        m, (R, 1, H, W) in [0, 1].
    """
    reach = math.ceil(2 * sigma / step)
    before, after = (_mirroring(length, reach, seeds) for length in seeds.shape[2:])
    around = F.unfold(separable_filter(before, seeds, after), kernel_size=2 * reach + 1).mT.contiguous()
    # One row of pixels of the cells at a time, so that the products with all points stay in a CPU's cache.
    rows = [
        smooth_maximum(weights[:, None] * around[:, None], dim=3, temperature=temperature)
        for weights in _kernel_weights(step, sigma, reach, seeds)
    ]
    height, width = seeds.shape[2:]
    cells = torch.stack(rows, dim=1).view(len(seeds), step, step, height, width)
    masks = cells.permute(0, 3, 1, 4, 2).reshape(len(seeds), 1, height * step, width * step)
    return separable_filter(
        interpolation_matrix(height * step, size[0], masks), masks, interpolation_matrix(width * step, size[1], masks)
    )


def _mirroring(length: int, reach: int, like: Tensor) -> Tensor:
    """(length + 2·reach, length) weights that pad a row on both sides by its mirror images."""
    places = torch.arange(-reach, length + reach, device=like.device) % (2 * length)
    return torch.eye(length, dtype=like.dtype, device=like.device)[places.minimum(2 * length - 1 - places)]


def _kernel_weights(step: int, sigma: float, reach: int, like: Tensor) -> Tensor:
    """Kernel k between the step × step pixels of a cell and the (2·reach + 1)² points around it: (step, step, points)."""
    pixels = torch.arange(step, dtype=like.dtype, device=like.device) - (step - 1) / 2
    points = step * torch.arange(-reach, reach + 1, dtype=like.dtype, device=like.device)
    apart = (pixels[:, None] - points).square()
    distances = (apart[:, None, :, None] + apart[None, :, None, :]).sqrt()
    return kernel(distances, sigma).flatten(2)
