"""What sort of layer a module is, and where its filters lie in its output."""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import nn
from torch.nn.modules import batchnorm, conv, dropout, pooling
from torchvision.ops import Permute

from vitrine.attribution.map_layout import channels_last, layout_of_map

Kind = Literal["conv", "pool", "norm", "linear", "activation", "other"]

_POOLS = (
    pooling._AvgPoolNd,  # noqa: SLF001 - torch has no public name for all poolings
    pooling._MaxPoolNd,  # noqa: SLF001
    pooling._LPPoolNd,  # noqa: SLF001
    pooling._AdaptiveAvgPoolNd,  # noqa: SLF001
    pooling._AdaptiveMaxPoolNd,  # noqa: SLF001
    nn.FractionalMaxPool2d,
)
_CHANNEL_NORMS = (batchnorm._NormBase, nn.GroupNorm, nn.LocalResponseNorm)  # noqa: SLF001
_LAST_DIMENSION_NORMS = (nn.LayerNorm, nn.RMSNorm)
_WITHOUT_EFFECT = (nn.Identity, nn.Flatten, nn.Unflatten, Permute, dropout._DropoutNd)  # noqa: SLF001
_CHANNELS_FIRST = (conv._ConvNd, *_POOLS, *_CHANNEL_NORMS, nn.Upsample, nn.PixelShuffle, nn.PixelUnshuffle)  # noqa: SLF001


def kind_of(module: nn.Module) -> Kind:
    """Convolution, pooling, normalisation, fully connected, activation, or none of these.

    Poolings that are not torch's own count as such where they have no submodules and ``Pool`` is in their class's name.
    """
    if isinstance(module, conv._ConvNd):  # noqa: SLF001
        return "conv"
    if isinstance(module, _POOLS) or ("Pool" in type(module).__name__ and is_leaf(module)):
        return "pool"
    if isinstance(module, (*_CHANNEL_NORMS, *_LAST_DIMENSION_NORMS)) or "BatchNorm" in type(module).__name__:
        return "norm"
    if isinstance(module, nn.Linear | nn.Bilinear):
        return "linear"
    return "activation" if type(module).__module__ == "torch.nn.modules.activation" else "other"


def is_leaf(module: nn.Module) -> bool:
    """Whether a module has no submodules."""
    return next(module.children(), None) is None


def counts_as_layer(module: nn.Module) -> bool:
    """Whether a module has no submodules, and computes something in eval mode."""
    return is_leaf(module) and not isinstance(module, _WITHOUT_EFFECT)


def filter_axis(modules: Iterable[nn.Module], shape: torch.Size, size: torch.Size) -> int:
    """The dimension of a layer's output along which its filters lie.

    Args:
        modules: those that gave this output: the layer, and what it ends or begins with.
        shape: of the output: (B, C), (B, C, h, w), (B, h, w, C), tokens (B, N, C), …
        size: (C, H, W) of the input of the model.
    """
    if len(shape) == 2:
        return 1
    known = next((axis for module in modules if (axis := _known_axis(module, shape)) is not None), None)
    if known is not None:
        return known
    return len(shape) - 1 if len(shape) == 3 or layout_of_map(shape, size) is channels_last else 1


def _known_axis(module: nn.Module, shape: torch.Size) -> int | None:
    last = len(shape) - 1
    if isinstance(module, _CHANNELS_FIRST):
        return 1
    if isinstance(module, nn.Linear | nn.Bilinear) or type(module) in _LAST_DIMENSION_NORMS:
        return last
    if isinstance(module, _LAST_DIMENSION_NORMS):  # there are variants that take channels first
        fitting = [axis for axis in (1, last) if shape[axis] == module.normalized_shape[-1]]
        return fitting[0] if len(fitting) == 1 else None
    return None
