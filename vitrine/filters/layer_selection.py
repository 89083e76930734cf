"""Share of each layer in the filters that a linear model selects."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from vitrine.filters.layers import ResponseLayer


@dataclass(frozen=True)
class LayerSelection:
    """How many of a layer's filters were selected; its fields are the columns of ``picks.csv``.

    Example:
        >>> import torch
        >>> layer = ResponseLayer("conv", "conv", number=1, width=2, start=0, spatial=True)
        >>> selection_by_layer(torch.tensor([[0.5], [0.0]]), [layer])[0].picks
        1
    """

    layer: str
    """Dotted name."""
    kind: str
    """Of the layer, such as ``conv``."""
    number: int
    """Position of the layer in the network, see `ResponseLayer`."""
    filters: int
    """Number of the layer's filters."""
    filter_share: float
    """Of all filters: the share of the picks that is expected by chance."""
    picks: int
    """Number of (filter, class) pairs with a weight other than 0."""
    pick_share: float
    """Share of the layer in all picks."""
    weight_share: float
    """Share of the layer in the sum of all |w|."""


def selection_by_layer(weights: Tensor, layers: Sequence[ResponseLayer]) -> list[LayerSelection]:
    """Counts the selected filters layer by layer.

    Args:
        weights: (m, C); a filter is selected for a class where its weight is not 0.
        layers: those of the m filters.

    Returns:
        One entry for each layer, in their order; shares are in [0, 1], and 0 where no filter is selected.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from vitrine.filters import response_layers
        >>> layers = response_layers(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2)), image_size=8)
        >>> [(layer.layer, layer.picks) for layer in selection_by_layer(torch.ones(4, 2), layers)]
        [('0', 8)]
    """
    sizes = weights.detach().double().abs()
    num_picks, total = int((sizes > 0).sum()), float(sizes.sum())
    by_layer = []
    for layer in layers:
        of_layer = sizes[layer.start : layer.start + layer.width]
        picks = int((of_layer > 0).sum())
        by_layer.append(
            LayerSelection(
                layer.name,
                layer.kind,
                layer.number,
                layer.width,
                filter_share=layer.width / len(weights),
                picks=picks,
                pick_share=picks / max(num_picks, 1),
                weight_share=float(of_layer.sum()) / total if total else 0.0,
            )
        )
    return by_layer
