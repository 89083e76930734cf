"""Image sizes that a network takes, found by trying."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vitrine.backbones.classifier_layer import input_channels
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.core.error_texts import first_line
from vitrine.core.options import OptionError

USUAL = (224, 256, 384, 288, 299, 320, 336, 448, 512, 518, 192, 128, 112, 96, 64, 80, 48, 32, 28, 16)
"""Sides of images in pixels that networks are made for."""
ATTRIBUTES = ("image_size", "img_size", "input_size")
"""Names under which networks, their patch embeddings and their configurations keep the size that they are made for."""
CONFIGURATIONS = ("pretrained_cfg", "default_cfg", "config")
SIZE_ERRORS = (RuntimeError, AssertionError, ValueError, IndexError, TypeError)
"""What networks raise for images of a size that they do not take."""


def blank_image(model: nn.Module, side: int) -> Tensor:
    """(1, C, S, S) zeros, S = side, as a network takes images: with its channels, of its type, on its device."""
    like = next((value for value in model.parameters() if value.is_floating_point()), torch.empty(0))
    return torch.zeros(1, input_channels(model), side, side, dtype=like.dtype, device=like.device)


def refusal_of_size(backbone: FrozenBackbone, side: int) -> Exception | None:
    """What a network raises for an image of side × side pixels; None where it takes it.

    Example:
        >>> backbone = FrozenBackbone(nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2)))
        >>> refusal_of_size(backbone, 8), working_size(backbone)
        (None, 8)
    """
    try:
        with torch.no_grad():
            backbone(blank_image(backbone.model, side))
    except SIZE_ERRORS as error:
        return error
    return None


def check_size(backbone: FrozenBackbone, side: int) -> None:
    """Makes sure that a network takes images of side × side pixels.

    Raises:
        OptionError: of ``image_size`` where it does not, with a size that it takes.
    """
    reason = refusal_of_size(backbone, side)
    if reason is None:
        return
    works = working_size(backbone)
    wanted = "the side of images that the backbone takes" if works is None else f"{works}, which works"
    wanted = f"{wanted}: the backbone takes no images of image_size {side} pixels ({first_line(reason)})"
    raise OptionError("image_size", side, wanted) from reason


def working_size(backbone: FrozenBackbone) -> int | None:
    """The side in pixels of square images that a network takes: what it says of itself, or else a usual one; None if none.

    Each is tried before it is given.
    """
    candidates = dict.fromkeys([*_told_sizes(backbone.model), *USUAL, *range(1, 33)])
    return next((side for side in candidates if refusal_of_size(backbone, side) is None), None)


def _told_sizes(model: nn.Module) -> Iterator[int]:
    for module in model.modules():
        for holder in (module, *(getattr(module, name, None) for name in CONFIGURATIONS)):
            for name in ATTRIBUTES:
                value = holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)
                yield from _side(value)


def _side(value: Any) -> Iterator[int]:
    if isinstance(value, list | tuple) and value:  # H × W, or C × H × W
        value = value[-1] if value[-1] == value[-2:][0] else None
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        yield value
