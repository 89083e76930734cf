"""Pooling: how the output of a layer becomes one vector an image, or a vector for each place."""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from vitrine.backbones.map_layouts import channels_first, layout_of_map
from vitrine.backbones.token_kinds import TokenKinds

Pooling = Literal["average", "positions", "cls", "mean_tokens", "tokens", "none", "flatten"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)
"""In the order in which they are tried; the last works for any layer, and is hardly meant."""
OVER_PLACES = frozenset({"positions", "tokens"})
"""Poolings that keep a vector for each place."""


def pooled(activation: Tensor, pooling: str, size: torch.Size, kinds: Callable[[], TokenKinds]) -> Tensor | None:
    """(B, D) vectors, or (B, P, D) for poolings over places.

    Of vectors (B, D) every pooling gives them as they are. Maps are (B, C, h, w) or (B, h, w, C).

    Args:
        activation: (B, …), the output of a layer.
        pooling: of maps, ``average`` or ``mean_tokens`` the mean over their places, ``positions`` or ``tokens`` the vector
            of each place, row by row; of tokens (B, N, D), ``cls`` the class token, ``mean_tokens`` the mean of the patch
            tokens, ``tokens`` these one by one; of either, ``flatten`` all numbers; ``none`` of vectors alone.
        size: (C, H, W) of the images.
        kinds: tells the tokens apart, where they are.

    Returns:
        None where the pooling does not turn the layer's output into vectors.
    """
    if activation.ndim == 2:
        return activation[:, None] if pooling in OVER_PLACES else activation
    if pooling == "flatten":
        return activation.flatten(1)
    if activation.ndim == 4:
        return _of_map(activation, pooling, size)
    return _of_tokens(activation, pooling, kinds) if activation.ndim == 3 else None


def _of_map(activation: Tensor, pooling: str, size: torch.Size) -> Tensor | None:
    # Four dimensions of other proportions than the image's are read as (B, C, h, w).
    maps = (layout_of_map(activation.shape, size) or channels_first)(activation)
    if pooling in OVER_PLACES:
        return maps.flatten(2).transpose(1, 2)
    return maps.mean(dim=(2, 3)) if pooling in {"average", "mean_tokens"} else None


def _of_tokens(activation: Tensor, pooling: str, kinds: Callable[[], TokenKinds]) -> Tensor | None:
    if pooling not in {"cls", "mean_tokens", "tokens"} or activation.shape[1] < 2:
        return activation[:, 0] if pooling in {"cls", "mean_tokens"} else None
    patches, class_token = kinds()
    if pooling == "cls":
        return None if class_token is None else activation[:, class_token]
    if not patches:
        return None
    tokens = activation[:, _slice_of(patches) or list(patches)]
    return tokens if pooling == "tokens" else tokens.mean(dim=1)


def _slice_of(indices: tuple[int, ...]) -> slice | None:
    """The same as a slice, which copies nothing."""
    first, last = indices[0], indices[-1]
    return slice(first, last + 1) if indices == tuple(range(first, last + 1)) else None
