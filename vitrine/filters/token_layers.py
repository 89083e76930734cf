"""Tokens as filters: patch tokens in their grid, and class and register tokens apart from them, by the names of layers.

``blocks.3`` stands for the channels of a layer over its patch tokens, ``blocks.3[0]`` for the channels of its token of index
0 alone, which is the class token of nearly all transformers; register and distillation tokens have the next indices.
"""

import re
from collections.abc import Callable, Mapping
from typing import Literal

from vitrine.attribution.autograd.backward import ForwardTrace, Visit
from vitrine.attribution.layouts import grid_of_tokens, is_tokens

Tokens = Literal["apart", "patches", "together"]
"""Of layers of tokens among all layers: ``"apart"`` takes responses over patch tokens, and each other token (class, register,
distillation) as filters of its own; ``"patches"`` leaves the others out; ``"together"`` treats all tokens alike."""

Grid = tuple[tuple[int, ...], ...]
"""Rows of the indices of patch tokens."""

_TOKEN = re.compile(r"^(?P<module>.*)\[(?P<token>\d+)\]$")


def module_of(layer: str) -> str:
    """The module that gives a layer's output.

    Example:
        >>> module_of("blocks.3[0]"), module_of("blocks.3")
        ('blocks.3', 'blocks.3')
    """
    found = _TOKEN.match(layer)
    return found["module"] if found else layer


def token_of(layer: str) -> int | None:
    """The index of the one token that a layer's name stands for; None for all patches.

    Example:
        >>> token_of("blocks.3[0]"), token_of("blocks.3")
        (0, None)
    """
    found = _TOKEN.match(layer)
    return int(found["token"]) if found else None


def grid_finder(trace: ForwardTrace) -> Callable[[Visit], Grid | None]:
    """Gives the patch grid of the tokens of a visit, found once for each number of tokens; None without one.

    Merged tokens, of which each depends on all of the image, count as tokens without a grid.
    """
    known: dict[int, Grid | None] = {}

    def find(visit: Visit) -> Grid | None:
        if not is_tokens(visit):
            return None
        count = visit.shape[1]
        if count not in known:
            grid = grid_of_tokens(trace, count, merged=False)
            known[count] = None if grid is None else tuple(tuple(row) for row in grid.tokens.tolist())
        return known[count]

    return find


def other_tokens(count: int, grid: Grid | None) -> list[int]:
    """Indices of the tokens that have no patch; none where no grid is known."""
    patches = {token for row in grid or () for token in row}
    return [] if grid is None else [token for token in range(count) if token not in patches]


def check_token(layer: str, shapes: Mapping[str, tuple[int, ...]], others: list[int]) -> None:
    """Makes sure that a layer has the token that its name asks for.

    Raises:
        ValueError: if it has no such token apart from its patches.
    """
    token, module = token_of(layer), module_of(layer)
    if token is not None and token not in others:
        named = ", ".join(f"{module}[{other}]" for other in others)
        raise ValueError(
            f"Layer {module!r} gives {tuple(shapes[module])} for one image, in which token {token} is no class or register"
            f" token; choose {named or repr(module)}."
        )
