"""Image operations: Gaussian blur, bilinear resizing, and which maps are degenerate."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrine.core.precision import in_full


def gaussian_matrix(length: int, sigma: float, like: Tensor) -> Tensor:
    """(L, L) weights of a one-dimensional Gaussian blur of ``sigma`` pixels; each row sums to 1, also at the ends."""
    places = torch.arange(length, dtype=like.dtype, device=like.device)
    if sigma == 0:
        return torch.eye(length, dtype=like.dtype, device=like.device)
    return (-0.5 * ((places[:, None] - places) / sigma) ** 2).softmax(dim=1)


def enlarging_matrix(short: int, length: int, like: Tensor) -> Tensor:
    """(L, S) weights of linear interpolation from S cells to L pixels; corners are not aligned."""
    cells = torch.eye(short, dtype=like.dtype, device=like.device)
    return F.interpolate(cells[None], size=length, mode="linear", align_corners=False)[0].T


def along_both(rows: Tensor, images: Tensor, columns: Tensor) -> Tensor:
    """A separable linear filter of (…, h, w) images by (H, h) and (W, w) weights: (…, H, W).

    As products of matrices, its gradient adds up in the same order at every call, on any device.
    """
    return rows @ images @ columns.mT


def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    """Blurs (…, H, W) images by a Gaussian of ``sigma`` pixels; a constant image stays constant up to its borders."""
    wide = in_full(images)
    height, width = images.shape[-2:]
    return along_both(gaussian_matrix(height, sigma, wide), wide, gaussian_matrix(width, sigma, wide)).to(images.dtype)


def upsampled(maps: Tensor, inputs: Tensor) -> Tensor:
    """(B, K, H, W) from (B, K, h, w), bilinearly, without aligned corners."""
    return F.interpolate(maps, inputs.shape[-2:], mode="bilinear", align_corners=False)


def blur(heatmap: Tensor, sigma: float) -> Tensor:
    """Blurs (…, H, W) float maps by a Gaussian of ``sigma`` pixels; a constant map stays constant up to its borders."""
    if sigma <= 0:
        return heatmap
    flat = heatmap.reshape(-1, 1, *heatmap.shape[-2:])
    blurred = _smear(flat, sigma) / _smear(torch.ones_like(flat[:1]), sigma)
    return blurred.reshape(heatmap.shape)


def _smear(heatmap: Tensor, sigma: float) -> Tensor:
    radius = math.ceil(3 * sigma)
    offsets = torch.arange(-radius, radius + 1, dtype=heatmap.dtype, device=heatmap.device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)
    rows = F.conv2d(heatmap, kernel, padding=(0, radius))
    return F.conv2d(rows, kernel.mT, padding=(radius, 0))


def degenerate(maps: Tensor) -> Tensor:
    """Which maps cannot localise anything: constant ones, such as all zeros, and those that hold NaN or infinity.

    Args:
        maps: (B, H, W).

    Returns:
        (B,) bool.

    Example:
        >>> degenerate(torch.stack([torch.zeros(8, 8), torch.rand(8, 8)])).tolist()
        [True, False]
    """
    flat = maps.flatten(1)
    return ~flat.isfinite().all(dim=1) | (flat.amax(dim=1) == flat.amin(dim=1))
