"""Filters of a network: their responses to images, the filters that a class is predicted from, and their visualisation."""

from vitrine.attribution.receptive_field.receptive_field import ReceptiveFields, receptive_field
from vitrine.filters.layer_selection import LayerSelection, selection_by_layer
from vitrine.filters.layers import ResponseLayer, response_layers
from vitrine.filters.responses import FilterResponses
from vitrine.filters.scaling import SCALINGS, ResponseScaling

__all__ = [
    "SCALINGS",
    "FilterResponses",
    "LayerSelection",
    "ReceptiveFields",
    "ResponseLayer",
    "ResponseScaling",
    "receptive_field",
    "response_layers",
    "selection_by_layer",
]
