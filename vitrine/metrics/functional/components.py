"""Connected components of binary images, with 8-connectivity."""

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrine.metrics.functional.checks import checked_tensor


def connected_components(on: Tensor) -> Tensor:
    """Labels the connected components of the pixels that are on; pixels that share a side or a corner are connected.

    Args:
        on: (B, H, W) bool.

    Returns:
        (B, H, W) int64: the row-major index of the component's first pixel; H · W where a pixel is off.

    Raises:
        ValueError: for another type or number of dimensions.

    Example:
        >>> connected_components(torch.tensor([[[True, False, False], [False, True, False], [False, False, False]]]))
        tensor([[[0, 9, 9],
                 [9, 0, 9],
                 [9, 9, 9]]])
    """
    if checked_tensor(on, "on", "B, H, W").dtype != torch.bool:
        raise ValueError(f"on is {on.dtype}; give booleans, such as maps > 0.5.")
    off = on.shape[1:].numel()
    flat, pixels = on.flatten(1), torch.arange(off, device=on.device)
    first = torch.where(flat, pixels, off)
    while True:
        smallest = torch.where(flat, _neighbourhood_minimum(first.reshape(on.shape)).flatten(1), off)
        # Hooking and pointer jumping: each pixel passes the smallest label of its neighbourhood on to the pixel that its
        # own label names, and then takes the label of that pixel. So components of any shape are labelled in a few rounds,
        # not in as many as they are long.
        hooked = F.pad(smallest, (0, 1), value=off).scatter_reduce(1, first, smallest, "amin")
        jumped = hooked.gather(1, hooked)[:, :-1]
        if torch.equal(jumped, first):
            return first.reshape(on.shape)
        first = jumped


def _neighbourhood_minimum(values: Tensor) -> Tensor:
    """(B, H, W): the minimum over each pixel's 3 × 3 neighbourhood; torch's pooling does not take integers."""
    for dim in (1, 2):
        last = values.shape[dim] - 1
        before, after = values.narrow(dim, 0, last), values.narrow(dim, 1, last)
        minimum = values.clone()
        minimum.narrow(dim, 1, last).copy_(torch.minimum(minimum.narrow(dim, 1, last), before))
        minimum.narrow(dim, 0, last).copy_(torch.minimum(minimum.narrow(dim, 0, last), after))
        values = minimum
    return values


def largest_component(on: Tensor) -> Tensor:
    """Keeps the component of the most pixels alone, the first in row-major order of several of that size.

    Args:
        on: (B, H, W) bool.

    Returns:
        (B, H, W) bool.

    Example:
        >>> largest_component(torch.tensor([[[True, False, False], [False, False, False], [True, True, False]]])).int()
        tensor([[[0, 0, 0],
                 [0, 0, 0],
                 [1, 1, 0]]], dtype=torch.int32)
    """
    first = connected_components(on).flatten(1)
    counts = torch.zeros(len(on), first.shape[1] + 1, dtype=torch.int64, device=on.device)
    counts.scatter_add_(1, first, torch.ones_like(first))
    largest = counts[:, :-1].argmax(dim=1, keepdim=True)
    return (first == largest).reshape(on.shape) & on
