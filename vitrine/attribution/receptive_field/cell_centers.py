"""Centres of cells: the places in the image that the cells of a feature map look at, by their receptive fields."""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge

from vitrine.attribution.autograd.backward import forward_trace
from vitrine.attribution.layouts import TokenGrid, grid_of_tokens
from vitrine.attribution.receptive_field.dependence import Dependence
from vitrine.attribution.receptive_field.receptive_field import CircularPaddingByParts
from vitrine.attribution.receptive_field.region import Region, Size, Span, span_of, whole
from vitrine.backbones.known_once import known_once
from vitrine.backbones.map_layouts import MapLayout, channels_first, channels_last, layout_of_map

TOLERANCE = 1e-3
"""In pixels, up to which centres are those of cells that the image is evenly divided into."""


class CellCenters(NamedTuple):
    """The centres of a map's cells in pixels, where pixel i reaches from i to i + 1."""

    rows: tuple[float, ...]
    columns: tuple[float, ...]

    def are_even(self, height: int, width: int) -> bool:
        """Whether they are those of cells that an image of this size is evenly divided into, as interpolation takes them."""
        sides = ((self.rows, height), (self.columns, width))
        return all(
            abs(centre - (index + 0.5) * side / len(centres)) <= TOLERANCE
            for centres, side in sides
            for index, centre in enumerate(centres)
        )


def centers_once(
    model: nn.Module, inputs: Tensor, key: str, find: Callable[[], CellCenters | None]
) -> CellCenters | None:
    """What ``find`` gives, kept as by `known_once`.

    A model that cannot be traced, such as one without gradients, has no known centres: None.
    """

    def found() -> CellCenters | None:
        try:
            return find()
        except torch.OutOfMemoryError:
            raise
        except Exception:  # noqa: BLE001 - whatever the model's code raises without gradients or for a single image
            return None

    return known_once(model, (key, *inputs.shape[1:]), found)


def centers_of_layer(model: nn.Module, inputs: Tensor, layer: str) -> CellCenters | None:
    """The centres of the cells or patch tokens of a layer; None where its receptive fields have none.

    Receptive fields are followed through windows and residual sums; gates, statistics of norms and attention, which look at
    all of the image, are left out.

    Args:
        model: maps (B, C, H, W) inputs to (B, n) logits; under `eval_guard`. It runs on one input, once for each size.
        inputs: (B, C, H, W); their values are not used.
        layer: dotted name.
    """

    def find() -> CellCenters | None:
        with CircularPaddingByParts():
            trace = forward_trace(model, inputs)
        visit = [visit for visit in trace.visits if visit.layer == layer][-1]
        layout: MapLayout | None
        if len(visit.shape) == 3:
            layout = grid_of_tokens(trace, *visit.shape[1:], merged=False)  # merged ones take seconds to find
        else:
            layout = layout_of_map(visit.shape, trace.size) or channels_first
        return None if layout is None else cell_centers(visit.edge, trace.size, layout)

    return centers_once(model, inputs, f"layer {layer}", find)


def cell_centers(edge: GradientEdge, size: torch.Size, layout: MapLayout) -> CellCenters | None:
    """The centres of the cells of a map, or None where they are unknown or do not follow one another.

    Args:
        edge: of the map in the graph of a forward pass of one input.
        size: (C, H, W) of that input.
        layout: of the map.
    """
    dependence = Dependence(GradientEdge(*edge), (1, *size), local=True)
    rows, columns = layout(torch.empty(dependence.shape, device="meta")).shape[2:]

    def center(row: int, column: int, axis: int) -> float | None:
        region = dependence.of(_unit(dependence.shape, layout, row, column), clip=False)
        span = None if region is None else span_of(region[2 + axis])
        return None if span is None or span.is_far else (span.low + span.high) / 2

    found_rows = _along(rows, lambda row: center(row, columns // 2, 0))
    found_columns = _along(columns, lambda column: center(rows // 2, column, 1))
    return None if found_rows is None or found_columns is None else CellCenters(found_rows, found_columns)


def _unit(shape: Size, layout: MapLayout, row: int, column: int) -> Region:
    """All channels of one cell."""

    def single(size: int, index: int) -> tuple[Span]:
        return (Span(size, index, index + 1),)

    if isinstance(layout, TokenGrid):
        return single(1, 0), single(shape[1], int(layout.tokens[row, column])), whole(shape[2], clip=True)
    if layout is channels_last:
        return single(1, 0), single(shape[1], row), single(shape[2], column), whole(shape[3], clip=True)
    return single(1, 0), whole(shape[1], clip=True), single(shape[2], row), single(shape[3], column)


def _along(length: int, center_of: Callable[[int], float | None]) -> tuple[float, ...] | None:
    """The centres along one side: those of few cells where these are equally far apart, else each for itself."""
    some = sorted({0, 1, length // 3, length // 2, length - 1} & set(range(length)))
    centers = {index: center_of(index) for index in some}
    if None in centers.values():
        return None
    known: dict[int, float] = {index: center for index, center in centers.items() if center is not None}
    step = known[1] - known[0] if length > 1 else 1.0
    if all(center == known[0] + index * step for index, center in known.items()):
        found: list[float | None] = [known[0] + index * step for index in range(length)]
    else:
        found = [center_of(index) for index in range(length)]
    values = tuple(value for value in found if value is not None)
    return values if len(values) == length and all(one < other for one, other in pairwise(values)) else None
