"""Layouts of feature maps: whether the channels of a layer's output come first or last."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

MapLayout = Callable[[Tensor], Tensor]
"""Rearranges the output of a layer to (B, C, h, w)."""


def layout_of_map(shape: torch.Size, size: torch.Size) -> MapLayout | None:
    """The layout of a feature map, (B, C, h, w) or (B, h, w, C), for inputs of size (C, H, W).

    A feature map has the input's proportions, to within a cell on each side; if both layouts do, channels come first.

    Returns:
        None if the shape is that of neither.
    """
    if len(shape) != 4:
        return None
    if _proportional(shape[2:4], size[1:]):
        return channels_first
    return channels_last if _proportional(shape[1:3], size[1:]) else None


def channels_first(output: Tensor) -> Tensor:
    """(B, C, h, w) as it is."""
    return output


def channels_last(output: Tensor) -> Tensor:
    """(B, C, h, w) from (B, h, w, C)."""
    return output.permute(0, 3, 1, 2)


def _proportional(cells: Sequence[int], pixels: Sequence[int]) -> bool:
    """Whether h − 1 < H/s < h + 1 holds for both sides of the input with one stride s."""
    least = max(pixel / (cell + 1) for cell, pixel in zip(cells, pixels, strict=True))
    most = min(pixel / max(cell - 1, 1e-9) for cell, pixel in zip(cells, pixels, strict=True))
    return least < most
