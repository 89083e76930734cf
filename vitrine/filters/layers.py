"""The layers whose filters are features, and their kinds."""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import nn
from torch.nn.modules import batchnorm, conv, dropout, pooling
from torchvision.ops import Permute

from vitrine.attribution.autograd.backward import ForwardTrace, Visit, forward_trace, vjp_at
from vitrine.attribution.layouts import channels_last, layout_of_map
from vitrine.backbones.guard import eval_guard
from vitrine.backbones.taps import resolve_layer

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


Layers = Literal["all", "conv"] | Sequence[str]
KINDS = ("conv", "pool", "norm", "linear")


class ResponseLayer(NamedTuple):
    """A layer whose filters are features."""

    name: str
    """Dotted, as in ``named_modules()``."""
    kind: Kind
    """Activations and others are there only where the user named them."""
    number: int
    """1, 2, …: its place in the network.

    Calls of modules without submodules count, activations among them as in the paper; those that change nothing do not
    (dropout, flattening, identities), and operators without a module cannot. A container has the number of its last layer.
    """
    width: int
    """Number of its filters."""
    start: int
    """The index of its first filter in x; ``x[start:start + width]`` are its filters."""
    spatial: bool
    """Whether it gives maps, (B, C, h, w) or (B, h, w, C); tokens and vectors are none."""
    axis: int = 1
    """The dimension of its output along which the filters lie."""


def response_layers(model: nn.Module, image_size: int | Sequence[int], layers: Layers = "all") -> list[ResponseLayer]:
    """The layers that x of section 3.1 is made of, in the order in which they run.

    Args:
        model: maps (B, C, H, W) images to (B, n) logits.
        image_size: the side of its square RGB input, or (C, H, W).
        layers: ``"all"`` for every convolution, pooling, normalisation and fully connected layer but the class layers, whose
            channels are the logits one to one: logit j rests on channel j alone. ``"conv"`` for those of them that give
            maps, as the paper counts pooling among the convolutional layers. Or names: exactly these, of layers that
            give (B, C), (B, C, h, w), (B, h, w, C) or tokens (B, N, C).

    Raises:
        ValueError: for an unknown layer, with the nearest names, one that is not run or has no filters, and where there are
            none.
    """
    return traced_layers(model, image_size, layers)[0]


def traced_layers(model: nn.Module, image_size: int | Sequence[int], layers: Layers) -> tuple[list[ResponseLayer], int]:
    """The layers as in `response_layers`, and the number of logits."""
    size = (3, image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    with eval_guard(model), torch.inference_mode(mode=False):
        trace = forward_trace(model, blank(model, size))
        numbers = _numbers(model, trace.visits)
        found = [_described(model, trace, visit, numbers) for visit in _chosen(model, trace, layers)]
    if not found:
        raise ValueError(f"{type(model).__name__} has no layers for {layers!r}; name them as in model.named_modules().")
    starts = [sum(layer.width for layer in found[:index]) for index in range(len(found))]
    numbered = [layer._replace(start=start) for layer, start in zip(found, starts, strict=True)]
    return numbered, trace.logits.shape[1]


def blank(model: nn.Module, size: Sequence[int]) -> torch.Tensor:
    """One input of zeros, of the type and on the device of the model's parameters."""
    like = next((parameter for parameter in model.parameters() if parameter.is_floating_point()), torch.empty(0))
    return torch.zeros(1, *size, dtype=like.dtype, device=like.device)


def axis_of(model: nn.Module, trace: ForwardTrace, visit: Visit) -> int:
    """The dimension of a layer's output along which its filters lie."""
    same = [other.layer for other in trace.visits if other.edge[:2] == visit.edge[:2]]
    return filter_axis(map(model.get_submodule, same), visit.shape, trace.size)


def _chosen(model: nn.Module, trace: ForwardTrace, layers: Layers) -> list[Visit]:
    visits = trace.last_of_each()
    if not isinstance(layers, str):
        wanted = {resolve_layer(model, name) for name in layers}
        _check_ran(wanted, visits)
        return [visit for visit in visits if visit.layer in wanted]
    if layers not in {"all", "conv"}:
        raise ValueError(f"layers {layers!r} is unknown; choose 'all', 'conv' or a list of names.")
    kept = [visit for visit in visits if kind_of(model.get_submodule(visit.layer)) in KINDS]
    kept = [visit for visit in kept if len(visit.shape) == 4 or (layers == "all" and len(visit.shape) in {2, 3})]
    return [visit for visit in kept if not _are_classes(model, trace, visit)]


def _check_ran(wanted: Iterable[str], visits: Sequence[Visit]) -> None:
    shapes = {visit.layer: visit.shape for visit in visits}
    for name in wanted:
        if name not in shapes:
            raise ValueError(
                f"Layer {name!r} gives no tensor (B, …) that depends on the image; choose another, or one within it."
            )
        if len(shapes[name]) not in {2, 3, 4}:
            raise ValueError(
                f"Layer {name!r} gives {tuple(shapes[name])} for one image, which has no filters; choose one that gives"
                " (B, C), (B, C, h, w) or tokens (B, N, C)."
            )


def _are_classes(model: nn.Module, trace: ForwardTrace, visit: Visit) -> bool:
    """Whether the logits 0, 2, … rest on the channels 0, 2, … alone."""
    axis = axis_of(model, trace, visit)
    count = trace.logits.shape[1]
    if visit.shape[axis] != count:
        return False
    # Not a number times a weight of zero is not a number: a logit is seen to rest on a channel whatever the weights are.
    signal = torch.zeros_like(trace.logits)
    signal[:, ::2] = torch.nan
    arrived = vjp_at(trace.logits, visit.edge, signal)
    return arrived is None or not bool(arrived.movedim(axis, 1)[:, 1::2].any())


def _numbers(model: nn.Module, visits: Sequence[Visit]) -> dict[str, int]:
    """The place of every layer's last call."""
    outputs = set()
    numbers = {}
    for visit in visits:
        module = model.get_submodule(visit.layer)
        if counts_as_layer(module):
            outputs.add(visit.edge[:2])  # stochastic depth, in eval mode, gives its input again
        numbers[visit.layer] = max(len(outputs), 1)
    return numbers


def _described(model: nn.Module, trace: ForwardTrace, visit: Visit, numbers: dict[str, int]) -> ResponseLayer:
    kind, axis, spatial = kind_of(model.get_submodule(visit.layer)), axis_of(model, trace, visit), len(visit.shape) == 4
    return ResponseLayer(visit.layer, kind, numbers[visit.layer], visit.shape[axis], 0, spatial, axis)
