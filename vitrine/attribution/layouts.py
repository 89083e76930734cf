"""Layouts of activations: where the cells of a feature map and the tokens of a transformer lie in the image."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vitrine.attribution.autograd.backward import ForwardTrace, Visit, forward_trace, noise, vjp_at

MapLayout = Callable[[Tensor], Tensor]
"""Rearranges the output of a layer to (B, C, h, w)."""


def layout_of_map(shape: torch.Size, size: torch.Size) -> MapLayout | None:
    """The layout of a feature map, (B, C, h, w) or (B, h, w, C), for inputs of size (C, H, W).

    A feature map has the input's proportions, to within a cell on each side; if both layouts do, channels come first.

    Returns:
        None if the shape is that of neither.
    """
    if len(shape) != 4:
        return None
    if _proportional(shape[2:4], size[1:]):
        return channels_first
    return channels_last if _proportional(shape[1:3], size[1:]) else None


def channels_first(output: Tensor) -> Tensor:
    """(B, C, h, w) as it is."""
    return output


def channels_last(output: Tensor) -> Tensor:
    """(B, C, h, w) from (B, h, w, C)."""
    return output.permute(0, 3, 1, 2)


def _proportional(cells: Sequence[int], pixels: Sequence[int]) -> bool:
    """Whether h − 1 < H/s < h + 1 holds for both sides of the input with one stride s."""
    least = max(pixel / (cell + 1) for cell, pixel in zip(cells, pixels, strict=True))
    most = min(pixel / max(cell - 1, 1e-9) for cell, pixel in zip(cells, pixels, strict=True))
    return least < most


@dataclass(frozen=True)
class TokenGrid:
    """The index of each patch's token; class and register tokens have no patch."""

    tokens: Tensor
    """(h, w) int64."""

    def __call__(self, output: Tensor) -> Tensor:
        """(B, D, h, w) from (B, N, D)."""
        return output[:, self.tokens.flatten()].transpose(1, 2).reshape(len(output), -1, *self.tokens.shape)


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
    embedding), or on none. Which one is read off VJPs from some of the tokens to that map. The tokens of ``layer`` are taken
    to have the same order. The model has to be under `eval_guard`.

    Raises:
        ValueError: if there is no such feature map, or its cells have been merged.
    """
    trace = forward_trace(model, inputs)
    grid = grid_of_tokens(trace, count)
    if grid is not None:
        return grid
    maps = [visit.layer for visit in trace.visits if layout_of_map(visit.shape, trace.size)]
    raise ValueError(
        f"Layer {layer!r} gives {count} tokens that have no place in the image: they are not made from one cell of an"
        f" earlier map each. Choose a layer that gives a map (B, C, h, w){f', such as {maps[-1]!r}' if maps else ''}."
    )


def grid_of_tokens(trace: ForwardTrace, count: int) -> TokenGrid | None:
    """The patch grid of the N tokens in a trace; None if they have none."""
    tokens = next((visit for visit in trace.visits if is_tokens(visit) and visit.shape[1] == count), None)
    if tokens is None:
        return None
    cotangent = noise(tokens.shape, trace.logits)
    for cells in reversed(trace.visits[: tokens.position]):
        layout = layout_of_map(cells.shape, trace.size)
        if layout is not None and vjp_at(tokens.edge, cells.edge, cotangent) is not None:
            return _grid_between(cells, layout, tokens, cotangent)
    return None


def is_tokens(visit: Visit) -> bool:
    """Whether the output of one input is (1, N, D) with N > 1 tokens."""
    return len(visit.shape) == 3 and visit.shape[1] > 1


def _grid_between(cells: Visit, layout: MapLayout, tokens: Visit, cotangent: Tensor) -> TokenGrid | None:
    full = torch.promote_types(cotangent.dtype, torch.float32)

    def vjp_of(is_selected: Tensor) -> Tensor:
        """(C, h, w) VJP at the cells from some of the tokens."""
        vjp = vjp_at(tokens.edge, cells.edge, cotangent * is_selected[:, None].to(cotangent))
        return layout(cotangent.new_zeros(cells.shape) if vjp is None else vjp)[0].to(full)

    # Tokens are numbered in binary. The VJP of the tokens with a 1 at some digit equals that of all tokens at a cell whose
    # token is among them, and is 0 at other cells.
    numbers = torch.arange(tokens.shape[1], device=cotangent.device)
    of_all = vjp_of(torch.ones_like(numbers))
    grid = torch.zeros(of_all.shape[1:], dtype=torch.int64, device=cotangent.device)
    for digit in range(len(numbers).bit_length()):
        is_one = _all_or_nothing(vjp_of(numbers >> digit & 1), of_all, torch.finfo(cotangent.dtype).eps ** 0.5)
        if is_one is None:
            return None
        grid += is_one << digit
    return TokenGrid(grid) if len(set(grid.flatten().tolist())) == grid.numel() else None


def _all_or_nothing(part: Tensor, whole: Tensor, tolerance: float) -> Tensor | None:
    """(h, w) of 1 where the part equals the whole and 0 where it is 0; None if it is neither at some cell."""
    size = whole.norm(dim=0)
    is_whole = (part * whole).sum(dim=0) > 0.5 * size**2
    is_clear = (part - is_whole * whole).norm(dim=0) <= tolerance * size
    return is_whole.long() if bool((is_clear & (size > 0)).all()) else None
