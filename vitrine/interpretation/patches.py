"""Pieces of images of one size, cut where a filter looks, and their averages."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrine.distributed import sum_over_ranks


class Box(NamedTuple):
    """Pixels x0 ≤ x < x1, y0 ≤ y < y1; may reach over the image's borders."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.y1 - self.y0, self.x1 - self.x0

    def at_most(self, height: int, width: int) -> "Box":
        """The box, made as small as this about its middle where it is larger."""
        x0, x1 = _at_most(self.x0, self.x1, width)
        y0, y1 = _at_most(self.y0, self.y1, height)
        return Box(x0, y0, x1, y1)


def _at_most(start: int, end: int, length: int) -> tuple[int, int]:
    if end - start <= length:
        return start, end
    first = (start + end - length) // 2
    return first, first + length


def cut(stack: Tensor, box: Box) -> Tensor:
    """(n, y1 − y0, x1 − x0) of an (n, H, W) stack of pixels; 0 where the box reaches over a border."""
    inside = stack[:, max(box.y0, 0) : max(box.y1, 0), max(box.x0, 0) : max(box.x1, 0)]
    left, top = min(max(-box.x0, 0), box.size[1]), min(max(-box.y0, 0), box.size[0])
    right, bottom = box.size[1] - left - inside.shape[2], box.size[0] - top - inside.shape[1]
    return F.pad(inside, (left, right, top, bottom))


def fitted(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Height and width with the longer one brought down to ``side`` where it is more."""
    scale = min(1.0, side / max(size))
    height, width = (max(1, round(scale * length)) for length in size)
    return height, width


def resized(stack: Tensor, size: tuple[int, int]) -> Tensor:
    """An (n, h, w) stack at another size, bilinearly and without aliasing; as it is where it has that size."""
    if tuple(stack.shape[1:]) == size:
        return stack
    return F.interpolate(stack[None], size, mode="bilinear", align_corners=False, antialias=True)[0]


class PatchMean:
    """The mean of (n, h, w) patches, accumulated in float64.

    Args:
        planes: n.
        size: h and w.
    """

    def __init__(self, planes: int, size: tuple[int, int]) -> None:
        self.total = torch.zeros(planes, *size, dtype=torch.float64)
        self.count = 0

    def add(self, patch: Tensor) -> None:
        """Takes in a patch, brought to the size."""
        height, width = self.total.shape[1:]
        self.total += resized(patch, (height, width)).cpu()
        self.count += 1

    def sum_over_ranks(self, device: torch.device) -> None:
        """Takes in what all processes have; a collective, which needs tensors on the processes' own device."""
        self.total = sum_over_ranks(self.total.to(device)).cpu()
        self.count = int(sum_over_ranks(torch.tensor(self.count, device=device)))

    def mean(self) -> Tensor:
        """(n, h, w) float64; NaN where there was no patch."""
        return self.total / self.count if self.count else torch.full_like(self.total, torch.nan)
