"""Greedy pretraining of an autoencoder, layer by layer (Bengio et al. 2007)."""

import torch
from torch import Tensor, nn

from vitrine.losses import plain_reconstruction


def greedy_loss(
    encoder: nn.Sequential,
    decoder: nn.Sequential,
    inputs: Tensor,
    depth: int,
    *,
    weights: Tensor | None = None,
    across_ranks: bool = False,
) -> Tensor:
    """Mean squared error of one layer and its mirror as an autoencoder of what the layers before it give.

    Args:
        encoder: linear layers, each followed by a ReLU.
        decoder: linear layers of the mirrored widths, with a ReLU between any two.
        inputs: (N, d).
        depth: which of the encoder's linear layers, from 0 on.
        weights: (N,) weights of the inputs; all alike without them.
        across_ranks: whether the inputs of all ranks are meant.

    Returns:
        A scalar, whose gradient reaches this layer and its mirror alone.
    """
    layers = [layer for layer in encoder if isinstance(layer, nn.Linear)]
    mirrors = [layer for layer in decoder if isinstance(layer, nn.Linear)][::-1]
    with torch.no_grad():
        before = inputs
        for layer in layers[:depth]:
            before = layer(before).relu()
    rebuilt = mirrors[depth](layers[depth](before).relu())
    return plain_reconstruction(rebuilt.float(), before.float(), weights=weights, across_ranks=across_ranks)
