"""What the filters of a network answer to an image, and which of its pixels they see."""

from vitrine.responses.filter_responses import FilterResponses
from vitrine.responses.layers import ResponseLayer, response_layers
from vitrine.responses.picks import LayerPicks, share_of_picks
from vitrine.responses.receptive_field import ReceptiveFields, receptive_field
from vitrine.responses.scaling import SCALINGS, ResponseScaling

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
