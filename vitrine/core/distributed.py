"""Collectives of a distributed run: differentiable sums, concatenation and gathering over ranks."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

T = TypeVar("T")


class _SumOverRanks(torch.autograd.Function):
    """All-reduce in the forward and the backward pass.

    Every rank evaluates the same function of the sum, so the gradients of all ranks add up; DistributedDataParallel's
    mean over ranks then gives the gradient of that one function.
    """

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:  # noqa: ARG004
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ARG004
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


def world_size() -> int:
    """Number of processes of the run; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """The tensor summed over all ranks, differentiable; the tensor itself in a single process."""
    if world_size() == 1:
        return tensor
    total: Tensor = _SumOverRanks.apply(tensor)
    return total


def leave_process_group() -> None:
    """Destroys the process group, if there is one.

    To be registered with ``atexit``: gloo's threads may still hold tensors when a process ends, and a thread that frees
    one after the interpreter has shut down aborts the process at the end of a successful run.
    """
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def global_rank() -> int:
    """Rank of this process; 0 without a process group."""
    return dist.get_rank() if world_size() > 1 else 0


def share_of_mean(rows: Tensor) -> Tensor:
    """(): what a sum over this rank's rows is to be multiplied with to be its part of the mean over all ranks' rows.

    DistributedDataParallel takes the mean over ranks, which weighs ranks alike, however many rows they have; so the sum is
    divided by the mean number of rows.
    """
    count = torch.tensor(float(len(rows)), device=rows.device)
    return world_size() / sum_over_ranks(count)


def cat_batches_over_ranks(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Concatenates a batch's (N, …) tensors over all ranks, in rank order; N may differ between ranks. Without gradient."""
    if world_size() == 1:
        return dict(batch)
    rows = next(iter(batch.values()))
    counts = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(world_size())]
    dist.all_gather(counts, torch.full_like(counts[0], len(rows)))
    return {name: _cat(tensor, [int(count) for count in counts]) for name, tensor in batch.items()}


def _cat(tensor: Tensor, counts: Sequence[int]) -> Tensor:
    """The tensors of all ranks, of which rank r has counts[r] rows: collectives want one shape, so they are padded."""
    padded = tensor.new_zeros(max(counts), *tensor.shape[1:])
    padded[: len(tensor)] = tensor
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def gather_over_ranks(value: T) -> list[T]:
    """The picklable values of all ranks, in rank order, on every rank."""
    if world_size() == 1:
        return [value]
    gathered = [value] * world_size()
    dist.all_gather_object(gathered, value)
    return gathered


def gather_on_zero(value: T) -> list[T]:
    """The picklable values of all ranks, in rank order, on rank zero; an empty list on the other ranks."""
    if world_size() == 1:
        return [value]
    gathered: list[T | None] | None = [None] * world_size() if dist.get_rank() == 0 else None
    dist.gather_object(value, gathered)
    return gathered or []  # type: ignore[return-value]  # filled by gather_object
