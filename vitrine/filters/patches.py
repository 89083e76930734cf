"""Image patches: boxes, cropping with padding, resizing, and the mean of patches."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrine.core.distributed import sum_over_ranks


class Box(NamedTuple):
    """Pixels x0 ≤ x < x1, y0 ≤ y < y1; may extend beyond the image's borders."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.y1 - self.y0, self.x1 - self.x0

    def shrink_to(self, height: int, width: int) -> "Box":
        """The box, shrunk about its centre to at most this size.

        Example:
            >>> Box(-10, 0, 30, 20).shrink_to(32, 32)
            Box(x0=-6, y0=0, x1=26, y1=20)
        """
        x0, x1 = _shrink(self.x0, self.x1, width)
        y0, y1 = _shrink(self.y0, self.y1, height)
        return Box(x0, y0, x1, y1)


def _shrink(start: int, end: int, length: int) -> tuple[int, int]:
    if end - start <= length:
        return start, end
    first = (start + end - length) // 2
    return first, first + length


def crop(planes: Tensor, box: Box) -> Tensor:
    """Crops (n, H, W) planes to a box, (n, y1 − y0, x1 − x0), with zeros outside the image.

    Example:
        >>> crop(torch.ones(1, 4, 4), Box(2, 2, 6, 4)).sum().item()
        4.0
    """
    inside = planes[:, max(box.y0, 0) : max(box.y1, 0), max(box.x0, 0) : max(box.x1, 0)]
    left, top = min(max(-box.x0, 0), box.size[1]), min(max(-box.y0, 0), box.size[0])
    right, bottom = box.size[1] - left - inside.shape[2], box.size[0] - top - inside.shape[1]
    return F.pad(inside, (left, right, top, bottom))


def fit_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Height and width, scaled down so that the longer one is at most ``side``.

    Example:
        >>> fit_size((200, 100), 96)
        (96, 48)
    """
    scale = min(1.0, side / max(size))
    height, width = (max(1, round(scale * length)) for length in size)
    return height, width


def resize(planes: Tensor, size: tuple[int, int]) -> Tensor:
    """(n, h, w) planes at another size, bilinearly with antialiasing; the same tensor where it has that size."""
    if tuple(planes.shape[1:]) == size:
        return planes
    return F.interpolate(planes[None], size, mode="bilinear", align_corners=False, antialias=True)[0]


class PatchMean:
    """The mean of (n, h, w) patches, accumulated in float64.

    Args:
        num_planes: n.
        size: h and w.

    Example:
        >>> mean = PatchMean(num_planes=3, size=(8, 8))
        >>> for _ in range(2):
        ...     mean.add(torch.ones(3, 10, 10))
        >>> mean.mean().shape, mean.count
        (torch.Size([3, 8, 8]), 2)
    """

    def __init__(self, num_planes: int, size: tuple[int, int]) -> None:
        self.total = torch.zeros(num_planes, *size, dtype=torch.float64)
        self.count = 0

    def add(self, patch: Tensor) -> None:
        """Adds a patch, resized to the size of the mean."""
        height, width = self.total.shape[1:]
        self.total += resize(patch, (height, width)).cpu()
        self.count += 1

    def sum_over_ranks(self, device: torch.device) -> None:
        """Adds the patches of all processes; a collective, on the processes' own device."""
        self.total = sum_over_ranks(self.total.to(device)).cpu()
        self.count = int(sum_over_ranks(torch.tensor(self.count, device=device)))

    def mean(self) -> Tensor:
        """(n, h, w) float64; NaN without a patch."""
        return self.total / self.count if self.count else torch.full_like(self.total, torch.nan)
