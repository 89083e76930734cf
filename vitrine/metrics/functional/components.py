"""Connected components of pixels."""

import torch
import torch.nn.functional as F
from torch import Tensor


def connected_components(on: Tensor) -> Tensor:
    """The component of each pixel that is on; pixels that share a side or a corner are connected (8-connectivity).

    Args:
        on: (B, H, W) bool.

    Returns:
        (B, H, W) int64: the row-order index of the component's first pixel, H · W where a pixel is off.
    """
    nothing = on[0].numel()
    flat, pixels = on.flatten(1), torch.arange(nothing, device=on.device)
    first = torch.where(flat, pixels, nothing)
    while True:
        nearest = torch.where(flat, _least_around(first.reshape(on.shape)).flatten(1), nothing)
        # A pixel tells what it hears to the pixel that it names, and then names what that one does: so a component of any
        # shape is joined in a few rounds, and not in as many as it is long.
        told = F.pad(nearest, (0, 1), value=nothing).scatter_reduce(1, first, nearest, "amin")
        joined = told.gather(1, told)[:, :-1]
        if torch.equal(joined, first):
            return first.reshape(on.shape)
        first = joined


def _least_around(numbers: Tensor) -> Tensor:
    """(B, H, W): the least in each pixel's 3 × 3 neighbourhood; torch's pooling takes no integers."""
    for dim in (1, 2):
        last = numbers.shape[dim] - 1
        before, after = numbers.narrow(dim, 0, last), numbers.narrow(dim, 1, last)
        least = numbers.clone()
        least.narrow(dim, 1, last).copy_(torch.minimum(least.narrow(dim, 1, last), before))
        least.narrow(dim, 0, last).copy_(torch.minimum(least.narrow(dim, 0, last), after))
        numbers = least
    return numbers


def largest_component(on: Tensor) -> Tensor:
    """Only the component of the most pixels, the first in row order where several have as many.

    Args:
        on: (B, H, W) bool.

    Returns:
        (B, H, W) bool.
    """
    first = connected_components(on).flatten(1)
    counts = torch.zeros(len(on), first.shape[1] + 1, dtype=torch.int64, device=on.device)
    counts.scatter_add_(1, first, torch.ones_like(first))
    largest = counts[:, :-1].argmax(dim=1, keepdim=True)
    return (first == largest).reshape(on.shape) & on
