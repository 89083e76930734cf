"""Layouts of activations: where the cells of a feature map and the tokens of a transformer lie in the image."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vitrine.attribution.autograd.backward import ForwardTrace, Visit, forward_trace, noise, vjp_at
from vitrine.attribution.token_places import exact_places, likely_places, one_token_a_block, subsampled
from vitrine.backbones.map_layouts import MapLayout, channels_first, layout_of_map

MOST_OTHER_TOKENS = 2
"""Class and distillation tokens before merged ones."""


@dataclass(frozen=True)
class TokenGrid:
    """The index of each patch's token; class and register tokens have no patch."""

    tokens: Tensor
    """(h, w) int64."""

    def __call__(self, output: Tensor) -> Tensor:
        """(B, D, h, w) from (B, N, D)."""
        return output[:, self.tokens.flatten()].transpose(1, 2).reshape(output.shape[0], -1, *self.tokens.shape)


def layout_of_layer(model: nn.Module, layer: str, output: Tensor, inputs: Tensor) -> MapLayout:
    """The layout of a layer's output; four dimensions of other proportions than the input's are read as (B, C, h, w).

    Args:
        model: as in `token_grid`.
        layer: dotted name.
        output: of the layer, for the inputs.
        inputs: (B, C, H, W).

    Raises:
        ValueError: if the output has no places in the image.
    """
    if output.ndim == 4 and len(output) == len(inputs):
        return layout_of_map(output.shape, inputs.shape[1:]) or channels_first
    if output.ndim == 3 and len(output) == len(inputs):
        return token_grid(model, inputs, layer, output.shape[1])
    raise ValueError(
        f"Layer {layer!r} gives {tuple(output.shape)} for {len(inputs)} inputs, which has no places in the image; choose one"
        " that gives a map (B, C, h, w) or tokens (B, N, D)."
    )


def token_grid(model: nn.Module, inputs: Tensor, layer: str, count: int) -> TokenGrid:
    """The patch grid of the N tokens that a layer gives for inputs of this size.

    Each of the first N tokens of the forward pass must depend on one cell of the feature map before them (the patch
    embedding), or on one patch of pixels where there is no map before them; or on none; or on one token of another number of
    tokens whose grid is known so, as where a class token comes late. Which one is read off VJPs (see
    `vitrine.attribution.token_places`). Where patches were merged, each token must depend most on its own part of the image.
    The tokens of ``layer`` are taken to have the order of the first N tokens of their width. The model has to be under
    `eval_guard`.

    Raises:
        ValueError: if there is no such feature map, or the tokens have no places.
    """
    trace = forward_trace(model, inputs)
    width = next(
        (visit.shape[2] for visit in reversed(trace.visits) if visit.layer == layer and is_tokens(visit)), None
    )
    grid = grid_of_tokens(trace, count, width)
    if grid is not None:
        return grid
    maps = [visit.layer for visit in trace.visits if layout_of_map(visit.shape, trace.size)]
    raise ValueError(
        f"Layer {layer!r} gives {count} tokens that have no place in the image: they are not made from one cell of an"
        f" earlier map each. Choose a layer that gives a map (B, C, h, w){f', such as {maps[-1]!r}' if maps else ''}."
    )


def grid_of_tokens(
    trace: ForwardTrace,
    count: int,
    width: int | None = None,
    *,
    merged: bool = True,
    before: Visit | None = None,
) -> TokenGrid | None:
    """The patch grid of the N tokens in a trace; None if they have none.

    Args:
        trace: of the model.
        count: N.
        width: of the tokens; where those of this width have no grid, that of the first ones of any width is taken.
        merged: whether tokens that depend on all of the image have a grid too.
        before: only tokens before this call are looked at.
    """
    visits = trace.visits if before is None else trace.visits[: before.position]
    tokens = [visit for visit in visits if is_tokens(visit) and visit.shape[1] == count]
    of_width = {visit.edge[:2]: visit for visit in reversed(tokens) if visit.shape[2] == width}
    # The first of a stage may be the attention alone; its sum with the tokens themselves is the second.
    first = sorted(of_width.values(), key=lambda visit: visit.position)[:2]
    for visit in [*first, *[other for other in tokens[:1] if other not in first]]:
        grid = _exact_grid_at(trace, visit) or (_likely_grid_at(trace, visit) if merged else None)
        if grid is not None:
            return grid
    return None


def _exact_grid_at(trace: ForwardTrace, tokens: Visit) -> TokenGrid | None:
    """The grid of the tokens of a visit, by the nearest map before them, or the nearest tokens of another number."""
    maps, others = _before(trace, tokens)
    for visits in (maps, others):
        nearest = _first_used(reversed(visits), tokens, trace)
        grid = None if nearest is None else _exact_grid(trace, nearest, tokens)
        if grid is not None:
            return grid
    return None


def _likely_grid_at(trace: ForwardTrace, tokens: Visit) -> TokenGrid | None:
    """The grid of merged tokens, by the first map."""
    first = _first_used(_before(trace, tokens)[0][1:], tokens, trace)
    return None if first is None else _likely_grid(trace, first, tokens)


def _before(trace: ForwardTrace, tokens: Visit) -> tuple[list[Visit], list[Visit]]:
    """The maps, the pixels first, and the tokens of another number that were there before the tokens of a visit."""
    before = [trace.pixels, *trace.visits[: tokens.position]]
    maps = [visit for visit in before if layout_of_map(visit.shape, trace.size)]
    return maps, [visit for visit in before if is_tokens(visit) and visit.shape[1] != tokens.shape[1]]


def _first_used(visits: Iterable[Visit], tokens: Visit, trace: ForwardTrace) -> Visit | None:
    cotangent = noise(tokens.shape, trace.logits)
    return next((visit for visit in visits if vjp_at(tokens.edge, visit.edge, cotangent) is not None), None)


def _exact_grid(trace: ForwardTrace, cells: Visit, tokens: Visit) -> TokenGrid | None:
    if is_tokens(cells):
        layout: MapLayout | None = grid_of_tokens(trace, *cells.shape[1:], merged=False, before=tokens)
    else:
        layout = layout_of_map(cells.shape, trace.size)
    vjp_of = None if layout is None else _vjp_of(trace, cells, layout, tokens)
    places = None if vjp_of is None else exact_places(vjp_of, tokens.shape[1], trace.logits)
    places = None if places is None else subsampled(places)
    if places is None:
        return None
    rows, columns = places.shape
    for size in ((rows // step, columns // step) for step in range(1, min(rows, columns) + 1)):
        if rows % size[0] == columns % size[1] == 0 and (rows // size[0]) * (size[1]) == columns:
            blocks = one_token_a_block(places, size)
            if blocks is not None and len(set(blocks.flatten().tolist())) == blocks.numel():
                return TokenGrid(blocks)
    return None


def _likely_grid(trace: ForwardTrace, first: Visit, tokens: Visit) -> TokenGrid | None:
    """The grid of merged tokens; None where the first map has as many cells, so that none were merged."""
    count, (_, height, width) = tokens.shape[1], trace.size
    layout = layout_of_map(first.shape, trace.size)
    if layout is None:
        return None
    cells = layout(torch.empty(first.shape, device="meta")).shape[2:].numel()
    for others in range(MOST_OTHER_TOKENS + 1):
        rows = round(((count - others) * height / width) ** 0.5)
        columns = (count - others) // max(rows, 1)
        if rows * columns == count - others != cells and rows * columns > 1 and round(rows * width / height) == columns:
            vjp_of = _vjp_of(trace, first, layout, tokens)
            places = likely_places(vjp_of, count, (rows, columns), trace.logits.device)
            return None if places is None else TokenGrid(places)
    return None


def _vjp_of(trace: ForwardTrace, cells: Visit, layout: MapLayout, tokens: Visit) -> Callable[[Tensor], Tensor]:
    """Gives the (C, h, w) VJP at the cells from some of the tokens."""
    cotangent = noise(tokens.shape, trace.logits)
    full = torch.promote_types(cotangent.dtype, torch.float32)

    def vjp_of(is_selected: Tensor) -> Tensor:
        vjp = vjp_at(tokens.edge, cells.edge, cotangent * is_selected[:, None].to(cotangent))
        return layout(cotangent.new_zeros(cells.shape) if vjp is None else vjp)[0].to(full)

    return vjp_of


def is_tokens(visit: Visit) -> bool:
    """Whether the output of one input is (1, N, D) with N > 1 tokens."""
    return len(visit.shape) == 3 and visit.shape[1] > 1
