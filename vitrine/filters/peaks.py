"""How strongly filters respond to images, and where they do so most."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from vitrine.backbones.taps import captured
from vitrine.core.top_k import no_locations
from vitrine.filters.layers import ResponseLayer
from vitrine.filters.responses import FilterResponses


@dataclass(frozen=True)
class WantedFilter:
    """A filter to look into."""

    layer: ResponseLayer
    """Its layer."""
    channel: int
    """Its channel of the layer's output."""
    of_class: int | None = None
    """Only images of this class count; all without it."""

    @property
    def index(self) -> int:
        """Its place among all filter responses x."""
        return self.layer.start + self.channel


class Peaks(NamedTuple):
    """What p filters make of a batch."""

    responses: Tensor
    """(B, p): x."""
    maxima: Tensor
    """(B, p): the largest activation, signed; of a layer without places the activation itself, of tokens the largest."""
    locations: Tensor
    """(B, p, 2) int64: row and column of each filter's maximum, the first in row order; −1 for layers without places."""


def peaks(responses: FilterResponses, images: Tensor, wanted: Sequence[WantedFilter]) -> Peaks:
    """Responses of filters and the places of their maxima, in one forward pass.

    Args:
        responses: gives x; its backbone is behind glass.
        images: (B, 3, H, W) as the backbone takes them.
        wanted: p filters.
    """
    layers = {filter_.layer.name: filter_.layer for filter_ in wanted}
    with torch.no_grad(), captured(responses.backbone.model, list(layers)) as outputs:
        x = responses(images)["features"]
    maxima = x.new_zeros(len(images), len(wanted))
    locations = no_locations(len(images), len(wanted)).to(images.device)
    for name, layer in layers.items():
        numbers = [number for number, filter_ in enumerate(wanted) if filter_.layer == layer]
        channels = [wanted[number].channel for number in numbers]
        maps = outputs[name].movedim(layer.axis, 1)[:, channels]
        values = maps.reshape(*maps.shape[:2], -1)
        first = values.argmax(dim=2)
        maxima[:, numbers] = values.gather(2, first[..., None])[..., 0].to(maxima)
        if layer.spatial:
            locations[:, numbers] = torch.stack([first // maps.shape[3], first % maps.shape[3]], dim=2)
    return Peaks(x[:, [filter_.index for filter_ in wanted]], maxima, locations)


def of_its_class(responses: Tensor, labels: Tensor, wanted: Sequence[WantedFilter]) -> Tensor:
    """(B, p) responses with 0 where a filter is wanted on images of a class that an image does not have.

    Args:
        responses: (B, p).
        labels: (B,) indices or (B, C) multi-hot.
        wanted: p filters.
    """
    limited = responses.clone()
    for number, filter_ in enumerate(wanted):
        if filter_.of_class is not None:
            has = labels[:, filter_.of_class] > 0 if labels.ndim == 2 else labels == filter_.of_class
            limited[~has.to(limited.device), number] = 0
    return limited
