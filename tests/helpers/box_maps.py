"""Maps that are one on boxes or at a pixel, and boxes as tensors."""

from collections.abc import Sequence

import torch
from torch import Tensor


def on_box(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (20, 30), value: float = 1.0) -> Tensor:
    """An (H, W) map that is one on boxes and zero elsewhere."""
    found = torch.zeros(size)
    for x0, y0, x1, y1 in boxes:
        found[y0:y1, x0:x1] = value
    return found


def rows(*boxes: Sequence[float]) -> Tensor:
    return torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)


def peak(x: int, y: int, size: tuple[int, int] = (40, 50)) -> Tensor:
    """An (H, W) map with its maximum at a pixel."""
    found = torch.zeros(size)
    found[y, x] = 1
    return found
