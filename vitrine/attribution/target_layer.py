"""The target layer of class activation maps if none is named: the last one that gives a feature map."""

import torch
from torch import Tensor, nn

from vitrine.attribution.autograd.backward import ForwardTrace, Visit, forward_trace, noise, vjp_at
from vitrine.attribution.layouts import MOST_OTHER_TOKENS, TokenGrid, grid_of_tokens, is_tokens
from vitrine.backbones.map_layouts import MapLayout, layout_of_map


def target_layer(model: nn.Module, inputs: Tensor) -> str:
    """The last layer, in the order in which layers run, that gives a feature map on which the logits depend.

    A feature map is (B, C, h, w) or (B, h, w, C) with the input's proportions and more than one cell; or the tokens (B, N, D)
    of a patch grid, as wide as the first ones, if the logits depend on its patches and not on the class token alone. Maps
    whose channels are the classes themselves are skipped, and so is adaptive pooling, which gives maps of a fixed size. If
    several modules give the same tensor (a container and its last child), the outermost is named.

    Args:
        model: maps (B, C, H, W) inputs to (B, n) logits; under `eval_guard`.
        inputs: (B, C, H, W); their values are not used, their size is.

    Raises:
        ValueError: if there is none, or if tokens without a patch grid come after the last feature map.
    """
    search = _Search(model, forward_trace(model, inputs))
    visits = search.trace.last_of_each()
    found = (
        visit for visit in reversed(visits) if not _pools(model.get_submodule(visit.layer)) and search.ends_at(visit)
    )
    last = next(found, None)
    chosen = last
    while chosen is not None and _is_part(model, chosen):
        chosen = next(found, None)
    chosen = chosen or last
    if chosen is not None:
        same = [other.layer for other in visits if other.edge[:2] == chosen.edge[:2]]
        return min(same, key=lambda name: name.count("."))
    raise ValueError(
        f"No layer of {type(model).__name__} gives a map of more than one cell for inputs of size"
        f" {tuple(inputs.shape[1:])}; give larger inputs, or name a layer."
    )


def _is_part(model: nn.Module, visit: Visit) -> bool:
    """Whether an output stands for a part of a block: queries, keys and values of tokens, and gates of one channel."""
    return _is_projection(model, visit) if is_tokens(visit) else 1 in {visit.shape[1], visit.shape[3]}


def _is_projection(model: nn.Module, visit: Visit) -> bool:
    return isinstance(model.get_submodule(visit.layer), nn.Linear)


def _pools(module: nn.Module) -> bool:
    return isinstance(module, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d)


class _Search:
    def __init__(self, model: nn.Module, trace: ForwardTrace) -> None:
        self.trace = trace
        self.cotangent = noise(trace.logits.shape, trace.logits)
        self.is_flat = not any(bool(self._vjp_values(visit).any()) for visit in trace.visits[:1])
        """Whether no gradient arrives anywhere, as before a classifier of zeros."""
        self.first_counts: dict[int, int] = {}
        self.widths: dict[int, int] = {}
        """By the number of tokens, the width of the last ones, which is that of the sums of residual blocks."""
        tokens = [visit for visit in trace.visits if is_tokens(visit)]
        for visit in reversed(tokens):
            self.first_counts[visit.shape[1]] = visit.position
        # Keys and values of a pooling by attention come after the last sum, and are wider than it.
        for visit in sorted(tokens, key=lambda visit: not _is_projection(model, visit)):
            if not self._are_classes(visit, _tokens_as_channels):
                self.widths[visit.shape[1]] = visit.shape[2]
        self.grids: dict[int, TokenGrid | None] = {}

    def ends_at(self, visit: Visit) -> bool:
        """Whether a layer is the target layer, if no later one is."""
        if not (self._cells_reach_logits(visit) if is_tokens(visit) else self._map_reaches_logits(visit)):
            return False
        for count, grid in self.grids.items():
            if grid is None:
                raise ValueError(
                    f"The last layers of the model give {count} tokens that have no place in the image; name an earlier"
                    f" layer, such as {visit.layer!r}."
                )
        return True

    def _map_reaches_logits(self, visit: Visit) -> bool:
        layout = layout_of_map(visit.shape, self.trace.size)
        if layout is None:
            return False
        cells = layout(torch.empty(visit.shape, device="meta")).shape[2:]
        if max(cells) == 1 or set(cells) & self._token_counts_before(visit):  # heads of attention, one row a token
            return False
        return not self._are_classes(visit, layout) and self._reaches(self._vjp(visit))

    def _token_counts_before(self, visit: Visit) -> set[int]:
        return {count for count, position in self.first_counts.items() if position < visit.position}

    def _are_classes(self, visit: Visit, layout: MapLayout) -> bool:
        """Whether the channels are the classes: the logits 0, 2, … depend on the channels 0, 2, … alone."""
        classes = self.trace.logits.shape[1]
        if layout(torch.empty(visit.shape, device="meta")).shape[1] != classes:
            return False
        even = torch.arange(classes, device=self.cotangent.device) % 2 == 0
        vjp = vjp_at(self.trace.logits, visit.edge, self.cotangent * even)
        return vjp is None or not bool(layout(vjp)[:, 1::2].any())

    def _cells_reach_logits(self, visit: Visit) -> bool:
        count, width = visit.shape[1:]
        vjp = self._vjp(visit) if width == self.widths.get(count) else None
        if vjp is None or self._are_classes(visit, _tokens_as_channels):
            return False
        if count not in self.grids:
            grid = grid_of_tokens(self.trace, count, width)
            if grid is None and count <= MOST_OTHER_TOKENS:  # class and distillation tokens, taken from the others
                return False
            self.grids[count] = grid
        grid = self.grids[count]
        return grid is not None and self._reaches(grid(vjp))

    def _reaches(self, vjp: Tensor | None) -> bool:
        return vjp is not None and (self.is_flat or bool(vjp.any()))

    def _vjp(self, visit: Visit) -> Tensor | None:
        return vjp_at(self.trace.logits, visit.edge, self.cotangent)

    def _vjp_values(self, visit: Visit) -> Tensor:
        vjp = self._vjp(visit)
        return self.cotangent.new_zeros(1) if vjp is None else vjp


def _tokens_as_channels(tokens: Tensor) -> Tensor:
    """(B, D, N) from (B, N, D)."""
    return tokens.transpose(1, 2)
