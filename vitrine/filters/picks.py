"""Which layers the selected filters come from."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from vitrine.filters.layers import ResponseLayer


@dataclass(frozen=True)
class LayerPicks:
    """One row of the table: a layer, and what of it was selected."""

    layer: str
    kind: str
    number: int
    filters: int
    """How many it has."""
    filter_share: float
    """Of all filters: the share of the picks that it would have by chance."""
    picks: int
    """Pairs of a filter and a class with a weight other than 0."""
    pick_share: float
    """Of all picks."""
    weight_share: float
    """Of the sum of all |w|."""


def share_of_picks(weights: Tensor, layers: Sequence[ResponseLayer]) -> list[LayerPicks]:
    """What the selected filters are, layer by layer.

    Args:
        weights: (m, C); a filter is selected for a class where its weight is not 0.
        layers: those that the m filters belong to.

    Returns:
        A row for each layer, in their order; shares are between 0 and 1, and 0 where nothing was selected.
    """
    sizes = weights.detach().double().abs()
    picked, total = int((sizes > 0).sum()), float(sizes.sum())
    rows = []
    for layer in layers:
        own = sizes[layer.start : layer.start + layer.width]
        picks = int((own > 0).sum())
        rows.append(
            LayerPicks(
                layer.name,
                layer.kind,
                layer.number,
                layer.width,
                filter_share=layer.width / len(weights),
                picks=picks,
                pick_share=picks / max(picked, 1),
                weight_share=float(own.sum()) / total if total else 0.0,
            )
        )
    return rows
