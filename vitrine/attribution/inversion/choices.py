"""Layers of an inversion mask that a network refuses, and others of it that work, found by trying."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vitrine.attribution.autograd.backward import ForwardTrace, Visit, forward_trace, noise
from vitrine.attribution.inversion.layers import (
    InversionLayers,
    cells_of_visits,
    depends,
    inversion_layers,
    is_attention,
)
from vitrine.attribution.inversion.network import InvertedNetwork, predicted
from vitrine.attribution.inversion.optimisation import optimise
from vitrine.attribution.inversion.problem import make_problem
from vitrine.attribution.inversion.settings import InversionSettings
from vitrine.attribution.layouts import layout_of_layer
from vitrine.core.image_ops import constant
from vitrine.core.near_names import near_names
from vitrine.core.options import OptionError

STEPS = 2
"""Of each stage in a trial."""
MOST_TRIALS = 12


class LayerRefusal(NamedTuple):
    """Why masks cannot be found between layers."""

    option: str
    """``inversion_layer`` or ``mask_layers``: which of them is to blame."""
    reason: str


def layers_that_work(
    model: nn.Module,
    images: Tensor,
    settings: InversionSettings,
    inversion: str | None = None,
    mask: tuple[str, ...] = (),
) -> InversionLayers:
    """`inversion_layers`, refused before masks are optimised where there can be none between them.

    Where none is named and there can be none between the default ones, the last map between which and itself masks were tried
    and work is both.

    l₀ has to give something of each image on which the logits depend; l₁ too, in several places of the image, and not after
    l₀.

    Args:
        model: under `eval_guard`.
        images: (B, C, H, W); only their size is used.
        settings: of the masks.
        inversion: l₀; None for the default.
        mask: l₁; empty for the default.

    Raises:
        OptionError: of ``inversion_layer`` or ``mask_layers``, with layers of this network that were tried and work.
        ValueError: where none is named and none works.
    """
    cause = None
    try:
        layers = inversion_layers(model, images, inversion, mask, settings.mask_from)
        refusal = refusal_of_layers(model, images, layers, settings)
    except ValueError as error:
        cause, refusal = error, LayerRefusal(_unknown(model, inversion, mask), str(error))
    if refusal is None:
        return layers
    works = working_layers(model, images, settings, inversion, mask)
    if works is not None and not (inversion or mask):
        return works
    if works is None and cause is not None and not (inversion or mask):
        raise cause
    raise _option_error(refusal, inversion, mask, works) from cause


def refusal_of_layers(
    model: nn.Module, images: Tensor, layers: InversionLayers, settings: InversionSettings
) -> LayerRefusal | None:
    """What is wrong with layers that exist; None if nothing is. The arguments are those of `layers_that_work`."""
    trace = forward_trace(model, images)
    visits = {visit.layer: visit for visit in trace.last_of_each()}
    end = visits.get(layers.inversion)
    reason = _not_read(trace, layers.inversion, end)
    if reason is None and settings.gate:
        reason = _no_places(model, images, trace, visits[layers.inversion])
    if reason is not None:
        return LayerRefusal("inversion_layer", reason)
    for name in layers.mask:
        visit = visits.get(name)
        reason = _not_read(trace, name, visit)
        if visit is not None and end is not None and reason is None:
            is_later = depends(visit, end) and visit.edge[:2] != end.edge[:2]
            reason = _no_places(model, images, trace, visit)
            reason = reason or (f"layer {name!r} comes after the inverted layer {end.layer!r}" if is_later else None)
        if reason is not None:
            return LayerRefusal("mask_layers", reason)
    return None


def _not_read(trace: ForwardTrace, layer: str, visit: Visit | None) -> str | None:
    if visit is None:
        return f"layer {layer!r} gives no tensor with a part for each image that depends on it"
    is_read = visit.edge.node in set(trace.nodes())
    return None if is_read else f"the logits do not depend on layer {layer!r}"


def _no_places(model: nn.Module, images: Tensor, trace: ForwardTrace, visit: Visit) -> str | None:
    """Why the channels of an output are no maps of the image."""
    if is_attention(trace, visit):
        return (
            f"layer {visit.layer!r} gives {tuple(visit.shape)}, a matrix for each head of attention and no feature map"
        )
    output = torch.empty(visit.shape, device="meta")
    try:
        cells = layout_of_layer(model, visit.layer, output, images[:1])(output).shape[2:]
    except ValueError:
        return f"layer {visit.layer!r} gives {tuple(visit.shape)} of an image, which has no places in the image"
    return f"layer {visit.layer!r} gives one cell for images of this size" if cells.numel() == 1 else None


def tried(model: nn.Module, images: Tensor, layers: InversionLayers, settings: InversionSettings) -> bool:
    """Whether a few steps between layers give a mask of an image of noise that is finite and not constant."""
    few = replace(
        settings, inversion_steps=min(STEPS, settings.inversion_steps), class_steps=min(STEPS, settings.class_steps)
    )
    image = noise((1, *images.shape[1:]), images)
    try:
        if refusal_of_layers(model, images, layers, settings) is not None:
            return False
        problem = make_problem(InvertedNetwork(model, layers, few), few, image, predicted)
        masks = optimise(problem.objective, problem.start).masks
    except (ValueError, RuntimeError):  # of the network, whatever is asked of it
        return False
    return bool(masks.isfinite().all()) and not bool(constant(masks).any())


def working_layers(
    model: nn.Module,
    images: Tensor,
    settings: InversionSettings,
    inversion: str | None = None,
    mask: tuple[str, ...] = (),
) -> InversionLayers | None:
    """Layers that were tried and work: one of the named ones kept, the default ones, or the last maps; None if none do.

    The arguments are those of `layers_that_work`.
    """
    candidates = _candidates(model, images, settings, inversion, mask)
    chosen = dict.fromkeys(layers for _, layers in zip(range(MOST_TRIALS), candidates, strict=False))
    return next((layers for layers in chosen if tried(model, images, layers, settings)), None)


def _candidates(
    model: nn.Module, images: Tensor, settings: InversionSettings, inversion: str | None, mask: tuple[str, ...]
) -> Iterator[InversionLayers]:
    names = [name for name, _ in model.named_modules() if name]
    near = [near_names(name, names)[:1] for name in (inversion, *mask) if name is not None and name not in names]
    kept = [(inversion, ()), (None, mask), *((name, ()) for few in near for name in few), (None, ())]
    for first, second in kept:
        try:
            yield inversion_layers(model, images, first, second, settings.mask_from)
        except ValueError:
            continue
    try:
        trace = forward_trace(model, images)
    except ValueError:  # a network through which no gradient flows
        return
    for visit, cells in reversed(cells_of_visits(trace, trace.last_of_each())):
        if max(cells) > 1:
            yield InversionLayers(visit.layer, (visit.layer,))


def _unknown(model: nn.Module, inversion: str | None, mask: tuple[str, ...]) -> str:
    names = dict(model.named_modules(remove_duplicate=False))
    return "mask_layers" if inversion in {None, *names} and not set(mask) <= set(names) else "inversion_layer"


def _option_error(
    refusal: LayerRefusal, inversion: str | None, mask: Sequence[str], works: InversionLayers | None
) -> OptionError:
    is_mask = refusal.option == "mask_layers"
    if works is None:
        wanted = "a layer of another network, as none of this one works"
    else:
        values = {"inversion_layer": repr(works.inversion), "mask_layers": str(list(works.mask))}
        wanted = values[refusal.option]
        other, named = ("inversion_layer", inversion) if is_mask else ("mask_layers", mask)
        if named and values[other] != (repr(named) if is_mask else str(list(mask))):
            wanted = f"{wanted} with {other} {values[other]}"
        wanted = f"{wanted}, which works"
    reason = refusal.reason.rstrip(".")
    return OptionError(
        refusal.option, list(mask) if is_mask else inversion, f"{wanted}: {reason[0].lower()}{reason[1:]}"
    )
