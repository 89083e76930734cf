"""The layers of an inversion mask, l₀ and l₁ (sections 4.1.1 and 4.1.4 of Du et al., KDD 2018)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models import AlexNet

from vitrine.attribution.autograd.backward import ForwardTrace, Visit, forward_trace
from vitrine.attribution.autograd.interception import walk
from vitrine.attribution.layouts import grid_of_tokens, is_tokens
from vitrine.attribution.target_layer import target_layer
from vitrine.backbones.map_layouts import layout_of_map
from vitrine.backbones.taps import resolve_layer

Cells = tuple[int, ...]
"""Rows and columns of a feature map."""


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

    l₀ is the last layer that gives a feature map or a patch grid on which the logits depend, see `target_layer`: the last
    pooling of VGG and AlexNet, the last block of ResNet, the last norm of most transformers. All of its output is inverted,
    class and register tokens included. l₁, of which only places count, is

    - the layer before it, if the feature map comes from a pooling layer (VGG: conv5_4 after its ReLU), so that the mask has
      more cells; for AlexNet the pooling layer itself, as in the paper;
    - where l₀ ends in a block of convolutions with batch norms, the norm before the last one of the block, if all that
      reaches the last one goes through it: the next to last convolution of a ResNet (and its ReLU, see `InvertedNetwork`);
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
        mask_layers = (
            inversion_layer if mask_from == "inversion_layer" else _mask_layer(model, images, inversion_layer),
        )
    return InversionLayers(inversion_layer, mask_layers)


def stage_layers(model: nn.Module, images: Tensor, last: str) -> tuple[str, ...]:
    """The last layer of each resolution, from half of the image's down to that of the layer ``last``, in order.

    At one resolution, modules whose names have the fewest parts that are no numbers are preferred: a block to the
    convolutions in it.
    """
    trace = forward_trace(model, images)
    visits = trace.last_of_each()
    (end,) = (visit for visit in visits if visit.layer == last)
    cells_of = cells_of_visits(trace, visits[: visits.index(end) + 1])
    last_visits: dict[Cells, Visit] = {}
    for visit, cells in cells_of:
        if not 1 < max(cells) <= max(images.shape[2:]) / 2:
            continue
        if cells not in last_visits or _depth(visit) <= _depth(last_visits[cells]):
            last_visits[cells] = visit
    end_cells = next((cells for visit, cells in cells_of if visit is end), None)
    return (*(visit.layer for cells, visit in last_visits.items() if cells != end_cells), last)


def cells_of_visits(trace: ForwardTrace, visits: list[Visit]) -> list[tuple[Visit, Cells]]:
    """The visits that gave a feature map or a patch grid, each with its cells; matrices of attention are none."""
    grids: dict[int, Cells | None] = {}
    found: list[tuple[Visit, Cells]] = []
    for visit in visits:
        if is_tokens(visit):
            count = visit.shape[1]
            if count not in grids:
                grid = grid_of_tokens(trace, count, visit.shape[2])
                grids[count] = None if grid is None else tuple(grid.tokens.shape)
            cells = grids[count]
        else:
            cells = _cells_of_map(trace, visit)
        if cells is not None:
            found.append((visit, cells))
    return found


def _cells_of_map(trace: ForwardTrace, visit: Visit) -> Cells | None:
    layout = layout_of_map(visit.shape, trace.size)
    if layout is None or is_attention(trace, visit):
        return None
    return tuple(layout(torch.empty(visit.shape, device="meta")).shape[2:])


def is_attention(trace: ForwardTrace, visit: Visit) -> bool:
    """Whether an output (B, heads, N, …) has a row for each of the N tokens that came before it, and no cell for each."""
    counts = {before.shape[1] for before in trace.visits[: visit.position] if is_tokens(before)}
    rows = visit.shape[2:]
    return len(visit.shape) == 4 and bool(counts & set(rows)) and rows.numel() not in counts


def _depth(visit: Visit) -> int:
    return sum(not part.isdigit() for part in visit.layer.split("."))


def _mask_layer(model: nn.Module, images: Tensor, inversion: str) -> str:
    last = _last_child(model, inversion)
    if isinstance(model.get_submodule(last), nn.MaxPool2d):
        return inversion if isinstance(model, AlexNet) else _before(model, last) or inversion
    return _norm_before_last(model, images, last) or inversion


def _norm_before_last(model: nn.Module, images: Tensor, block: str) -> str | None:
    """The batch norm before the last one of a block, if all that reaches the last one goes through it.

    The last one is that which has the most others before it, so that the norm of a projected shortcut is not taken for it.
    """
    names = {
        f"{block}.{name}"
        for name, module in model.get_submodule(block).named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)  # noqa: SLF001 - the base of all batch norms, no public name
    }
    if len(names) < 2:
        return None
    trace = forward_trace(model, images)
    norms = [visit for visit in trace.last_of_each() if visit.layer in names]
    before = {end: [norm for norm in norms if norm is not end and depends(end, norm)] for end in norms}
    end = max(before, key=lambda norm: (len(before[norm]), norm.position), default=None)
    if end is None:
        return None
    maps = [norm for norm in before[end] if max(_cells_of_map(trace, norm) or (0,)) > 1]
    return maps[-1].layer if maps and _is_only_way(trace, maps[-1], end) else None


def depends(later: Visit, earlier: Visit) -> bool:
    """Whether an output depends on another, or is the same."""
    return earlier.edge.node in set(walk([later.edge.node]))


def _is_only_way(trace: ForwardTrace, norm: Visit, end: Visit) -> bool:
    nodes = walk([end.edge.node], lambda node: node == norm.edge.node)
    return trace.pixels.edge.node not in set(nodes)


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
