"""Where the cells of a map and the tokens of a transformer lie in the image."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vitrine.attribution.autograd.backward import ForwardTrace, Visit, forward_trace, noise, sent_back

MapLayout = Callable[[Tensor], Tensor]
"""Takes an output to (B, C, h, w)."""


def layout_of_map(shape: torch.Size, size: torch.Size) -> MapLayout | None:
    """Whether (B, C, h, w) or (B, h, w, C), for inputs of size (C, H, W).

    A map has the input's proportions, to within a cell on each side; where both readings have, channels come first.

    Returns:
        None for what is neither.
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
    """Whether one stride s takes both sides of the input to h − 1 < H/s < h + 1 cells."""
    least = max(pixel / (cell + 1) for cell, pixel in zip(cells, pixels, strict=True))
    most = min(pixel / max(cell - 1, 1e-9) for cell, pixel in zip(cells, pixels, strict=True))
    return least < most


@dataclass(frozen=True)
class TokenGrid:
    """The token of every cell of the patch grid; class and register tokens have no cell."""

    tokens: Tensor
    """(h, w) int64."""

    def __call__(self, output: Tensor) -> Tensor:
        """(B, D, h, w) from (B, N, D)."""
        return output[:, self.tokens.flatten()].transpose(1, 2).reshape(len(output), -1, *self.tokens.shape)


def token_grid(model: nn.Module, inputs: Tensor, layer: str, count: int) -> TokenGrid:
    """The grid of the N tokens that a layer of a model behind glass gives for inputs of this size.

    Of the first N tokens of the forward pass, each must be made from one cell of the map that comes before them (the patch
    embedding) or from none; which one is read off what some of the tokens send back to the map. The tokens of ``layer`` are
    taken to be in the same order.

    Raises:
        ValueError: where the tokens have no such map, or its cells have been merged.
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
    """The grid of tokens that come N at a time; None where they have none."""
    tokens = next((visit for visit in trace.visits if is_tokens(visit) and visit.shape[1] == count), None)
    if tokens is None:
        return None
    start = noise(tokens.shape, trace.logits)
    for cells in reversed(trace.visits[: tokens.position]):
        layout = layout_of_map(cells.shape, trace.size)
        if layout is not None and sent_back(tokens.edge, cells.edge, start) is not None:
            return _grid_between(cells, layout, tokens, start)
    return None


def is_tokens(visit: Visit) -> bool:
    """Whether the output for one input is (1, N, D), several tokens."""
    return len(visit.shape) == 3 and visit.shape[1] > 1


def _grid_between(cells: Visit, layout: MapLayout, tokens: Visit, start: Tensor) -> TokenGrid | None:
    full = torch.promote_types(start.dtype, torch.float32)

    def at_cells(chosen: Tensor) -> Tensor:
        arrived = sent_back(tokens.edge, cells.edge, start * chosen[:, None].to(start))
        return layout(start.new_zeros(cells.shape) if arrived is None else arrived)[0].to(full)

    # Tokens are numbered in binary: to a cell that one token is made of, those with a digit 1 send back all or nothing.
    numbers = torch.arange(tokens.shape[1], device=start.device)
    whole = at_cells(torch.ones_like(numbers))
    found = torch.zeros(whole.shape[1:], dtype=torch.int64, device=start.device)
    for digit in range(len(numbers).bit_length()):
        ones = _all_or_nothing(at_cells(numbers >> digit & 1), whole, torch.finfo(start.dtype).eps ** 0.5)
        if ones is None:
            return None
        found += ones << digit
    return TokenGrid(found) if len(set(found.flatten().tolist())) == found.numel() else None


def _all_or_nothing(part: Tensor, whole: Tensor, tolerance: float) -> Tensor | None:
    """(h, w) of 1 where the part is the whole and 0 where it is nothing; None where it is neither somewhere."""
    size = whole.norm(dim=0)
    ones = (part * whole).sum(dim=0) > 0.5 * size**2
    clear = (part - ones * whole).norm(dim=0) <= tolerance * size
    return ones.long() if bool((clear & (size > 0)).all()) else None
