"""Gathers Python objects over the ranks; every rank must call these together."""

from typing import TypeVar

import torch.distributed as dist

from vitrine.distributed import world_size

T = TypeVar("T")


def gather_on_zero(value: T) -> list[T]:
    """The value of every rank, in rank order, on rank zero; an empty list on the others."""
    if world_size() == 1:
        return [value]
    gathered: list[T | None] | None = [None] * world_size() if dist.get_rank() == 0 else None
    dist.gather_object(value, gathered)
    return gathered or []  # type: ignore[return-value]  # gather_object has filled it
