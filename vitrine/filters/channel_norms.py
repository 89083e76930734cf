"""Norms of channels over their places, in one pass over the map and without a copy of it."""

import torch
from torch import Tensor

from vitrine.core.precision import without_autocast

BLOCK = 2**19
"""Numbers of a map that are squared at once on a CPU: so many float32 stay in its second-level cache."""

SMALL = 1024
"""Places of a map, below which the norm of torch takes longer with channels last than a square and a sum."""


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
        sizes = maps.abs().to(full)
        return sizes.square() if squared else sizes
    norms = (_norms_of_blocks if _in_blocks(maps, full) else _norms_at_once)(maps, full, places)
    return norms.square() if squared else norms


def _norms_at_once(maps: Tensor, full: torch.dtype, places: list[int]) -> Tensor:
    norms: Tensor
    if maps.dtype == full:
        norms = torch.linalg.vector_norm(maps, dim=places)
    else:
        with without_autocast(maps):  # which would copy the whole map
            norms = torch.linalg.vector_norm(maps, dim=places, dtype=full)
    return norms


def _in_blocks(maps: Tensor, full: torch.dtype) -> bool:
    """Whether the norm of torch is slow: on a CPU, of half precision, and of small maps with their channels last."""
    if maps.device.type != "cpu" or maps.requires_grad or not len(maps):
        return False
    return maps.dtype != full or (not maps.is_contiguous() and maps[0, 0].numel() < SMALL)


def _norms_of_blocks(maps: Tensor, full: torch.dtype, places: list[int]) -> Tensor:
    blocks = torch.split(maps, max(BLOCK // max(maps[:1].numel(), 1), 1))
    # Of the same strides; one for all, as getting memory costs more than squares.
    buffer = torch.empty_like(blocks[0], dtype=full)
    norms = [_norm_of_block(buffer[: len(block)].copy_(block), places) for block in blocks]
    return torch.cat(norms)


def _norm_of_block(values: Tensor, places: list[int]) -> Tensor:
    """Of values that may be written over."""
    norms: Tensor
    if values.is_contiguous():
        norms = torch.linalg.vector_norm(values, dim=places)
    else:
        norms = values.mul_(values).sum(dim=places).sqrt_()
    return norms
