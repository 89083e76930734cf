"""Norms of channels over their places, in one pass over the map and without a copy of it."""

import torch
from torch import Tensor

from vitrine.core.precision import without_autocast

BLOCK = 2**19
"""Numbers of a map that are squared at once on a CPU: so many float32 stay in its second-level cache."""


def channel_norms(maps: Tensor, *, squared: bool = False) -> Tensor:
    """The L2 norm of each channel, or its square.

    Args:
        maps: (B, C, …), of any type and memory format.
        squared: whether the sum of squares is wanted.

    Returns:
        (B, C) in float32, or in float64 where the maps are.

    Example:
        >>> channel_norms(torch.tensor([[[3.0, 4.0], [0.0, 1.0]]]))
        tensor([[5., 1.]])
    """
    full = torch.promote_types(maps.dtype, torch.float32)
    places = list(range(2, maps.ndim))
    if not places:
        norms = maps.abs().to(full)
        return norms.square() if squared else norms
    if _in_blocks(maps, full):
        squares = _sums_of_squares(maps, full, places)
        return squares if squared else squares.sqrt()
    with without_autocast(maps):  # which would copy the whole map
        norms = torch.linalg.vector_norm(maps, dim=places, dtype=full)
    return norms.square() if squared else norms


def _in_blocks(maps: Tensor, full: torch.dtype) -> bool:
    """Whether the norm of torch is slow: on a CPU, for channels last (five times) and half precision (twice)."""
    return maps.device.type == "cpu" and not maps.requires_grad and not (maps.dtype == full and maps.is_contiguous())


def _sums_of_squares(maps: Tensor, full: torch.dtype, places: list[int]) -> Tensor:
    count = max(BLOCK // max(maps[:1].numel(), 1), 1)
    blocks = (block.to(full, copy=True) for block in torch.split(maps, count))
    return torch.cat([block.mul_(block).sum(dim=places) for block in blocks])
