"""The layers of an inversion mask, l₀ and l₁ (sections 4.1.1 and 4.1.4 of Du et al., KDD 2018)."""

from typing import NamedTuple

from torch import Tensor, nn
from torchvision.models import AlexNet, ResNet

from vitrine.attribution.autograd.backward import Visit, forward_trace
from vitrine.attribution.target_layer import target_layer
from vitrine.backbones.map_layouts import channels_first, layout_of_map
from vitrine.backbones.taps import resolve_layer


class InversionLayers(NamedTuple):
    """Names of the layers of an inversion mask."""

    inversion: str
    """l₀, whose output the masked image has to reproduce."""
    mask: tuple[str, ...]
    """l₁, whose channels the mask is a sum of; with several layers, all of their channels."""


def inversion_layers(
    model: nn.Module,
    images: Tensor,
    inversion: str | None = None,
    mask: tuple[str, ...] = (),
    mask_from: str = "paper",
) -> InversionLayers:
    """The named layers, and the paper's for a network if none are named.

    l₀ is the last layer that gives a feature map: the last pooling of VGG and AlexNet, the last block of ResNet. l₁ is

    - the layer before it, if the feature map comes from a pooling layer (VGG: conv5_4 after its ReLU), so that the mask has
      more cells; for AlexNet the pooling layer itself, as in the paper;
    - the next to last convolution of a torchvision ResNet, after batch norm (and its ReLU, see `InvertedNetwork`);
    - l₀ itself for any other network.

    Args:
        model: under `eval_guard`.
        images: (B, C, H, W); only their size is used.
        inversion: l₀.
        mask: l₁.
        mask_from: what l₁ is if it is not named, see `InversionSettings`.

    Raises:
        ValueError: for an unknown layer, and for a network without a feature map of more than one cell.
    """
    inversion_layer = target_layer(model, images) if inversion is None else resolve_layer(model, inversion)
    mask_layers = tuple(resolve_layer(model, name) for name in mask)
    if not mask_layers and mask_from == "stages":
        mask_layers = stage_layers(model, images, inversion_layer)
    elif not mask_layers and mask_from == "finest":
        mask_layers = stage_layers(model, images, inversion_layer)[:1]
    elif not mask_layers:
        mask_layers = (inversion_layer if mask_from == "inversion_layer" else _mask_layer(model, inversion_layer),)
    return InversionLayers(inversion_layer, mask_layers)


def stage_layers(model: nn.Module, images: Tensor, last: str) -> tuple[str, ...]:
    """The last layer of each resolution, from half of the image's down to that of the layer ``last``, in order.

    At one resolution, modules whose names have the fewest parts are preferred: a block to the convolutions in it.
    """
    visits = forward_trace(model, images).last_of_each()
    (end,) = (visit for visit in visits if visit.layer == last)
    last_visits: dict[tuple[int, ...], Visit] = {}
    for visit in visits[: visits.index(end) + 1]:
        cells = tuple(visit.shape[2:])
        if (
            layout_of_map(visit.shape, images.shape[1:]) is not channels_first
            or not 1 < max(cells) <= max(images.shape[2:]) / 2
        ):
            continue
        if cells not in last_visits or _depth(visit) <= _depth(last_visits[cells]):
            last_visits[cells] = visit
    return (*(visit.layer for visit in last_visits.values() if visit.shape[2:] != end.shape[2:]), last)


def _depth(visit: Visit) -> int:
    return visit.layer.count(".")


def _mask_layer(model: nn.Module, inversion: str) -> str:
    if isinstance(model, ResNet) and inversion == "layer4":
        norms = [name for name, module in model.layer4.named_modules() if _is_norm_of_branch(name, module)]
        return f"layer4.{norms[-2]}"
    last = _last_child(model, inversion)
    if isinstance(model, AlexNet) or not isinstance(model.get_submodule(last), nn.MaxPool2d):
        return inversion
    return _before(model, last) or inversion


def _is_norm_of_branch(name: str, module: nn.Module) -> bool:
    return isinstance(module, nn.BatchNorm2d) and "downsample" not in name


def _last_child(model: nn.Module, name: str) -> str:
    """The innermost last module of a sequence of sequences."""
    module = model.get_submodule(name)
    while isinstance(module, nn.Sequential) and len(module):
        name = f"{name}.{list(module._modules)[-1]}".removeprefix(".")  # noqa: SLF001
        module = module[-1]
    return name


def _before(model: nn.Module, name: str) -> str | None:
    """The module before another in its sequence."""
    parent, _, child = name.rpartition(".")
    children = list(model.get_submodule(parent)._modules)  # noqa: SLF001 - named_children skips repeated modules
    place = children.index(child)
    return f"{parent}.{children[place - 1]}".removeprefix(".") if place else None
