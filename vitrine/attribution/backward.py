"""Signals that start at a unit and are sent back to the pixels, several of them over one graph."""

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor


def send_back(output: Tensor, pixels: Tensor, starts: Iterable[Tensor]) -> Iterator[Tensor]:
    """What arrives at the pixels, one backward pass a start. The last one frees the graph on its way, which saves time.

    Args:
        output: (B, n, …), the end of a graph that begins at ``pixels``.
        pixels: (B, C, H, W).
        starts: tensors of the output's shape.

    Yields:
        (B, C, H, W) each.
    """
    waiting = iter(starts)
    start = next(waiting, None)
    while start is not None:
        following = next(waiting, None)
        (arrived,) = torch.autograd.grad(
            output, pixels, start, retain_graph=following is not None, materialize_grads=True
        )
        yield arrived
        start = following


def one_hot(output: Tensor, units: Tensor) -> Tensor:
    """1 at the units (B,) of a (B, n, …) output, over all of their places; 0 elsewhere."""
    chosen = F.one_hot(units, output.shape[1]).to(output)
    return chosen.view(*output.shape[:2], *[1] * (output.ndim - 2)).expand_as(output)
