"""The filters of a network: their responses to images, which of them classes rest on, and what they look for."""

from vitrine.filters.layers import ResponseLayer, response_layers
from vitrine.filters.picks import LayerPicks, share_of_picks
from vitrine.filters.receptive_field.receptive_field import ReceptiveFields, receptive_field
from vitrine.filters.responses import FilterResponses
from vitrine.filters.scaling import SCALINGS, ResponseScaling

__all__ = [
    "SCALINGS",
    "FilterResponses",
    "LayerPicks",
    "ReceptiveFields",
    "ResponseLayer",
    "ResponseScaling",
    "receptive_field",
    "response_layers",
    "share_of_picks",
]
