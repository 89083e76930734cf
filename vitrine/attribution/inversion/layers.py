"""Between which layers an inversion mask is found (sections 4.1.1 and 4.1.4 of Du et al., KDD 2018)."""

from typing import NamedTuple

from torch import Tensor, nn
from torchvision.models import AlexNet, ResNet

from vitrine.attribution.autograd.backward import Visit, forward_trace
from vitrine.attribution.layouts import channels_first, layout_of_map
from vitrine.attribution.target_layer import target_layer
from vitrine.backbones.taps import resolve_layer


class InversionLayers(NamedTuple):
    """Names of two layers, or more."""

    inversion: str
    """l₀, whose output the masked image must give again."""
    mask: tuple[str, ...]
    """l₁, whose channels the mask is a sum of; of several layers, all of their channels."""


def inversion_layers(
    model: nn.Module,
    images: Tensor,
    inversion: str | None = None,
    mask: tuple[str, ...] = (),
    mask_from: str = "paper",
) -> InversionLayers:
    """The named layers, and the paper's for a network where none are named.

    l₀ is the last layer that gives a map of the image: the last pooling of VGG and AlexNet, the last block of ResNet. l₁ is

    - of a network whose map comes from a pooling layer, the layer before it (VGG: conv5_4 after its ReLU), so that the mask
      has more cells; AlexNet takes the pooling layer itself, as the paper does;
    - of a torchvision ResNet, its next to last convolution, after batch norm (and its ReLU, see `InvertedNetwork`);
    - of any other network l₀ itself.

    Args:
        model: behind glass.
        images: (B, C, H, W); their size counts.
        inversion: l₀.
        mask: l₁.
        mask_from: what l₁ is where it is not named, see `InversionSettings`.

    Raises:
        ValueError: for an unknown layer, and for a network without a map of more than one cell.
    """
    chosen = target_layer(model, images) if inversion is None else resolve_layer(model, inversion)
    found = tuple(resolve_layer(model, name) for name in mask)
    if not found and mask_from == "stages":
        found = stage_layers(model, images, chosen)
    elif not found and mask_from == "finest":
        found = stage_layers(model, images, chosen)[:1]
    elif not found:
        found = (chosen if mask_from == "inversion_layer" else _mask_layer(model, chosen),)
    return InversionLayers(chosen, found)


def stage_layers(model: nn.Module, images: Tensor, last: str) -> tuple[str, ...]:
    """The last layer of every resolution from half of the image's on, up to the layer ``last``, in order.

    Of several modules at one resolution, those count whose names have the fewest parts, so that a block is taken and not the
    convolutions in it.
    """
    visits = forward_trace(model, images).last_of_each()
    (end,) = (visit for visit in visits if visit.layer == last)
    found: dict[tuple[int, ...], Visit] = {}
    for visit in visits[: visits.index(end) + 1]:
        cells = tuple(visit.shape[2:])
        if (
            layout_of_map(visit.shape, images.shape[1:]) is not channels_first
            or not 1 < max(cells) <= max(images.shape[2:]) / 2
        ):
            continue
        if cells not in found or _depth(visit) <= _depth(found[cells]):
            found[cells] = visit
    return (*(visit.layer for visit in found.values() if visit.shape[2:] != end.shape[2:]), last)


def _depth(visit: Visit) -> int:
    return visit.layer.count(".")


def _mask_layer(model: nn.Module, inversion: str) -> str:
    if isinstance(model, ResNet) and inversion == "layer4":
        normalised = [name for name, module in model.layer4.named_modules() if _is_norm_in_line(name, module)]
        return f"layer4.{normalised[-2]}"
    last = _last_child(model, inversion)
    if isinstance(model, AlexNet) or not isinstance(model.get_submodule(last), nn.MaxPool2d):
        return inversion
    return _before(model, last) or inversion


def _is_norm_in_line(name: str, module: nn.Module) -> bool:
    return isinstance(module, nn.BatchNorm2d) and "downsample" not in name


def _last_child(model: nn.Module, name: str) -> str:
    """The innermost last module of a sequence of sequences."""
    module = model.get_submodule(name)
    while isinstance(module, nn.Sequential) and len(module):
        name = f"{name}.{list(module._modules)[-1]}".removeprefix(".")  # noqa: SLF001
        module = module[-1]
    return name


def _before(model: nn.Module, name: str) -> str | None:
    """The module that stands before another in its sequence."""
    parent, _, child = name.rpartition(".")
    children = list(model.get_submodule(parent)._modules)  # noqa: SLF001 - named_children leaves out a module's second place
    place = children.index(child)
    return f"{parent}.{children[place - 1]}".removeprefix(".") if place else None
