"""Signals that start at a unit and are sent back to the pixels, several of them over one graph."""

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor


def send_back(output: Tensor, pixels: Tensor, starts: Iterable[Tensor]) -> Iterator[Tensor]:
    """What arrives at the pixels, one backward pass a start; the graph stays for the next.

    Args:
        output: (B, n, …), the end of a graph that begins at ``pixels``.
        pixels: (B, C, H, W).
        starts: tensors of the output's shape.

    Yields:
        (B, C, H, W) each.
    """
    for start in starts:
        (arrived,) = torch.autograd.grad(output, pixels, start, retain_graph=True, materialize_grads=True)
        yield arrived


def one_hot(output: Tensor, units: Tensor) -> Tensor:
    """1 at the units (B,) of a (B, n, …) output, over all of their places; 0 elsewhere."""
    chosen = F.one_hot(units, output.shape[1]).to(output)
    return chosen.view(*output.shape[:2], *[1] * (output.ndim - 2)).expand_as(output)
