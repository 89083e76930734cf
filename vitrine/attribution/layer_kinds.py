"""Kinds of layers (convolution, pooling, normalisation, …) and the channel dimension of their outputs."""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import nn
from torch.nn.modules import batchnorm, conv, dropout, pooling
from torchvision.ops import Permute

from vitrine.attribution.autograd.backward import ForwardTrace, Visit
from vitrine.backbones.map_layouts import channels_last, layout_of_map

Kind = Literal["conv", "pool", "norm", "linear", "activation", "other"]

_POOLS = (
    pooling._AvgPoolNd,  # noqa: SLF001 - torch has no public name for all poolings
    pooling._MaxPoolNd,  # noqa: SLF001
    pooling._LPPoolNd,  # noqa: SLF001
    pooling._AdaptiveAvgPoolNd,  # noqa: SLF001
    pooling._AdaptiveMaxPoolNd,  # noqa: SLF001
    nn.FractionalMaxPool2d,
)
_CHANNELS_FIRST_NORMS = (batchnorm._NormBase, nn.GroupNorm, nn.LocalResponseNorm)  # noqa: SLF001
_CHANNELS_LAST_NORMS = (nn.LayerNorm, nn.RMSNorm)
_ACTIVATION_MODULES = ("torch.nn.modules.activation", "timm.layers.activations", "transformers.activations")
_OVER_SEVERAL_NUMBERS = (nn.MultiheadAttention, nn.Softmax, nn.Softmax2d, nn.LogSoftmax, nn.Softmin, nn.GLU)
_IDENTITIES = (nn.Identity, nn.Flatten, nn.Unflatten, Permute, dropout._DropoutNd)  # noqa: SLF001
_CHANNELS_FIRST = (conv._ConvNd, *_POOLS, *_CHANNELS_FIRST_NORMS, nn.Upsample, nn.PixelShuffle, nn.PixelUnshuffle)  # noqa: SLF001


def kind_of(module: nn.Module) -> Kind:
    """Kind of a layer: convolution, pooling, normalisation, fully connected, activation, or other.

    Activations are those of torch, timm and Transformers.
    Poolings that are not torch's own are recognised by ``Pool`` in their class's name, if they have no submodules.

    Example:
        >>> kind_of(nn.MaxPool2d(2)), kind_of(nn.LayerNorm(8)), kind_of(nn.Dropout())
        ('pool', 'norm', 'other')
    """
    if isinstance(module, conv._ConvNd):  # noqa: SLF001
        return "conv"
    if isinstance(module, _POOLS) or ("Pool" in type(module).__name__ and is_leaf(module)):
        return "pool"
    if isinstance(module, (*_CHANNELS_FIRST_NORMS, *_CHANNELS_LAST_NORMS)) or "BatchNorm" in type(module).__name__:
        return "norm"
    if isinstance(module, nn.Linear | nn.Bilinear):
        return "linear"
    return "activation" if type(module).__module__ in _ACTIVATION_MODULES else "other"


def is_elementwise(module: nn.Module) -> bool:
    """Whether an activation treats each number alone, as softmax, GLU and attention do not."""
    return kind_of(module) == "activation" and not isinstance(module, _OVER_SEVERAL_NUMBERS)


def is_leaf(module: nn.Module) -> bool:
    """Whether a module has no submodules."""
    return next(module.children(), None) is None


def counts_as_layer(module: nn.Module) -> bool:
    """Whether a module has no submodules and computes something in eval mode."""
    return is_leaf(module) and not isinstance(module, _IDENTITIES)


def axis_of(model: nn.Module, trace: ForwardTrace, visit: Visit) -> int:
    """The channel dimension of a layer's output."""
    same_output = [other.layer for other in trace.visits if other.edge[:2] == visit.edge[:2]]
    return filter_axis(map(model.get_submodule, same_output), visit.shape, trace.size)


def filter_axis(modules: Iterable[nn.Module], shape: torch.Size, size: torch.Size) -> int:
    """The channel dimension of a layer's output.

    Args:
        modules: those with this output: the layer, and modules that end or begin with it.
        shape: of the output: (B, C), (B, C, h, w), (B, h, w, C), tokens (B, N, C), …
        size: (C, H, W) of the model's input.

    Example:
        >>> filter_axis([nn.Linear(8, 16)], torch.Size([1, 7, 7, 16]), torch.Size([3, 224, 224]))
        3
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
    if isinstance(module, nn.Linear | nn.Bilinear) or type(module) in _CHANNELS_LAST_NORMS:
        return last
    if isinstance(module, _CHANNELS_LAST_NORMS):  # some subclasses have the channels first
        candidates = [axis for axis in (1, last) if shape[axis] == module.normalized_shape[-1]]
        return candidates[0] if len(candidates) == 1 else None
    return None
