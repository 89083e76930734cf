"""Pixels in boxes."""

import torch
from torch import Tensor


def box_region(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """(H, W) bool: the union of (k, 4) half-open boxes x0, y0, x1, y1; a pixel counts by its centre."""
    height, width = size
    y = torch.arange(height, device=boxes.device)[:, None] + 0.5
    x = torch.arange(width, device=boxes.device) + 0.5
    x0, y0, x1, y1 = (side[:, None, None] for side in boxes.unbind(dim=1))
    return ((x >= x0) & (x < x1) & (y >= y0) & (y < y1)).any(dim=0)
