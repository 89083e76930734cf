"""Places of tokens: which token each cell of an earlier map goes into, read off VJPs from some of the tokens at a time."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

LEAST_AGREEMENT = 0.8
"""Share of the binary digits of the tokens' numbers that must agree with an order row by row; by chance about a half do."""

VJPOf = Callable[[Tensor], Tensor]
"""Maps (N,) weights of 0 or 1 to the (C, h, w) VJP at the cells from the tokens of weight 1."""


def exact_places(vjp_of: VJPOf, count: int, like: Tensor) -> Tensor | None:
    """(h, w) int64: the one token that each cell goes into, −1 for none; None where some cell goes into several tokens.

    Tokens are numbered in binary. The VJP of the tokens with a 1 at some digit equals that of all tokens at a cell whose
    token is among them, and is 0 at other cells.

    Args:
        vjp_of: see above.
        count: N.
        like: has the device of the VJPs, and the type whose precision they have.
    """
    numbers = torch.arange(count, device=like.device)
    of_all = vjp_of(torch.ones_like(numbers))
    places = torch.zeros(of_all.shape[1:], dtype=torch.int64, device=like.device)
    for digit in range(count.bit_length()):
        is_one = _all_or_nothing(vjp_of(numbers >> digit & 1), of_all, torch.finfo(like.dtype).eps ** 0.5)
        if is_one is None:
            return None
        places += is_one << digit
    return places.masked_fill(of_all.norm(dim=0) == 0, -1)


def _all_or_nothing(part: Tensor, whole: Tensor, tolerance: float) -> Tensor | None:
    """(h, w) of 1 where the part equals the whole and 0 where it is 0; None if it is neither at some cell."""
    size = whole.norm(dim=0)
    is_whole = (part * whole).sum(dim=0) > 0.5 * size**2
    is_clear = (part - is_whole * whole).norm(dim=0) <= tolerance * size
    return is_whole.long() if bool(is_clear.all()) else None


def subsampled(places: Tensor) -> Tensor | None:
    """The (h', w') cells that go into a token, if they are those of every so many rows and columns; None otherwise.

    Args:
        places: (h, w) the token of each cell, −1 for none.
    """
    rows, columns = ((places >= 0).any(dim=dimension).nonzero().flatten() for dimension in (1, 0))
    chosen = places[rows][:, columns]
    regular = all(_is_regular(kept, size) for kept, size in zip((rows, columns), places.shape, strict=True))
    return chosen if regular and bool((chosen >= 0).all()) else None


def _is_regular(kept: Tensor, size: int) -> bool:
    """Whether indices of a dimension are all that are equally far apart."""
    if len(kept) < 2:
        return len(kept) == size
    step = int(kept[1] - kept[0])
    return kept.tolist() == list(range(int(kept[0]), size, step)) and int(kept[0]) < step


def one_token_a_block(places: Tensor, size: tuple[int, int]) -> Tensor | None:
    """(h', w') the token of each block of cells, for blocks of one size; None where a block has several tokens.

    Args:
        places: (h, w) the token of each cell.
        size: h', w', which divide h, w.
    """
    rows, columns = (cells // blocks for cells, blocks in zip(places.shape, size, strict=True))
    blocks = places[::rows, ::columns]
    same = blocks.repeat_interleave(rows, dim=0).repeat_interleave(columns, dim=1)
    return blocks if torch.equal(same, places) else None


def likely_places(vjp_of: VJPOf, count: int, size: tuple[int, int], device: torch.device) -> Tensor | None:
    """(h, w) int64: the token of each cell of a grid where tokens have looked at each other, so that each depends on all.

    A token depends most on its own cell. For each binary digit of the tokens' numbers, the cells are ranked by the ratio of
    the squared VJPs of the tokens with a 1 and of those with a 0; as many as there are tokens with a 1 have one. If the
    numbers so read are all different they are the places; else these are row by row if `LEAST_AGREEMENT` of all digits say
    so, the last h · w of the tokens being those of the grid.

    Args:
        vjp_of: see above; its cells are pooled to the grid.
        count: N ≥ h · w.
        size: h, w.
        device: of the VJPs.
    """
    numbers = torch.arange(count, device=device)
    rows = numbers[count - size[0] * size[1] :]
    read, agreements = torch.zeros_like(rows), []
    for digit in range(count.bit_length()):
        bits = rows >> digit & 1
        if bool(bits.any()) and not bool(bits.all()):
            one, zero = (_energy(vjp_of((numbers >> digit & 1) == value), size) for value in (1, 0))
            if not bool((one + zero > 0).all()):
                return None
            first = (one / (one + zero)).argsort(descending=True, stable=True)[: int(bits.sum())]
            found = torch.zeros_like(bits).scatter_(0, first, 1)
            agreements.append((found == bits).double().mean())
            bits = found
        read += bits << digit
    if len(set(read.tolist())) == len(read) and set(read.tolist()) == set(rows.tolist()):
        return read.view(size)
    is_likely = bool(agreements) and float(torch.stack(agreements).mean()) >= LEAST_AGREEMENT
    return rows.view(size) if is_likely else None


def _energy(vjp: Tensor, size: tuple[int, int]) -> Tensor:
    """(h · w,) squared VJP in each cell of a grid."""
    return adaptive_avg_pool2d(vjp.double().square().sum(dim=0)[None, None], size).flatten()
