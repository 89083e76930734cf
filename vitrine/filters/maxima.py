"""Maxima of filters: how strongly filters respond to images, where, and to which images most."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from vitrine.backbones.taps import captured
from vitrine.core.batch import Batch
from vitrine.core.options import Count, checked
from vitrine.core.top_k import TopImages, no_locations
from vitrine.filters.layers import ResponseLayer
from vitrine.filters.responses import FilterResponses

Advance = Callable[[int], None]
"""Called with the number of images that were read since the last call."""
RankBy = Literal["response", "maximum"]


@dataclass(frozen=True)
class TargetFilter:
    """A filter to visualise."""

    layer: ResponseLayer
    """Layer of the filter."""
    channel: int
    """Channel of the layer's output."""
    of_class: int | None = None
    """The class to whose images the filter is restricted; None for all images."""

    @property
    def index(self) -> int:
        """Index of the filter in the responses x."""
        return self.layer.start + self.channel


class FilterMaxima(NamedTuple):
    """Responses and maxima of p filters on a batch of images."""

    responses: Tensor
    """(B, p): x."""
    maxima: Tensor
    """(B, p): the largest activation, signed, over the locations or tokens of the layer, if it has any."""
    locations: Tensor
    """(B, p, 2) int64: row and column of the maximum, the first in row-major order; −1 for non-spatial layers."""


def filter_maxima(responses: FilterResponses, images: Tensor, filters: Sequence[TargetFilter]) -> FilterMaxima:
    """Responses of filters and the locations of their maxima, in one forward pass.

    Args:
        responses: the filter responses, on a frozen backbone.
        images: (B, 3, H, W), normalised for the backbone.
        filters: p filters.
    """
    layers = {target.layer.name: target.layer for target in filters}
    with (
        torch.no_grad(),
        captured(responses.backbone.model, sorted({layer.module for layer in layers.values()})) as outputs,
    ):
        x = responses(images)["features"]
    maxima = x.new_zeros(len(images), len(filters))
    locations = no_locations(len(images), len(filters)).to(images.device)
    for layer in layers.values():
        indices = [index for index, target in enumerate(filters) if target.layer == layer]
        channels = [filters[index].channel for index in indices]
        maps = layer.filters_first(outputs[layer.module])[:, channels]
        values = maps.reshape(*maps.shape[:2], -1)
        first = values.argmax(dim=2)
        maxima[:, indices] = values.gather(2, first[..., None])[..., 0].to(maxima)
        if layer.spatial:
            locations[:, indices] = torch.stack([first // maps.shape[3], first % maps.shape[3]], dim=2)
    return FilterMaxima(x[:, [target.index for target in filters]], maxima, locations)


def restrict_to_classes(responses: Tensor, labels: Tensor, filters: Sequence[TargetFilter]) -> Tensor:
    """(B, p) responses, set to 0 where a filter is restricted to a class that the image is not of.

    Args:
        responses: (B, p).
        labels: (B,) indices or (B, C) multi-hot.
        filters: p filters.
    """
    restricted = responses.clone()
    for index, target in enumerate(filters):
        if target.of_class is not None:
            is_of_class = labels[:, target.of_class] > 0 if labels.ndim == 2 else labels == target.of_class
            restricted[~is_of_class.to(restricted.device), index] = 0
    return restricted


@checked
def find_top_images(
    batches: Iterable[Batch],
    responses: FilterResponses,
    filters: Sequence[TargetFilter],
    top_k: Count = 100,
    *,
    rank_by: RankBy = "response",
    device: torch.device | str = "cpu",
    advance: Advance | None = None,
) -> TopImages:
    """The ``top_k`` images of highest response of each filter over all processes, in one pass; a collective.

    Args:
        batches: this process's share of the batches, with image and key (and label for filters with ``of_class``).
        responses: the filter responses, on a frozen backbone.
        filters: p filters.
        top_k: number of images of each filter.
        rank_by: ``response`` x, which is a norm over the whole map in which negative activations count like positive ones, or
            the filter's signed ``maximum``.
        device: that of the backbone.
        advance: called with the number of images that were read.

    Raises:
        OptionError: for another ``rank_by``, or a ``top_k`` below 1.
    """
    top_images = TopImages(top_k, len(filters))
    for batch in batches:
        maxima = filter_maxima(responses, batch["image"].to(device), filters)
        values = maxima.responses if rank_by == "response" else maxima.maxima
        restricted = restrict_to_classes(values, batch["label"], filters) if "label" in batch else values
        top_images.update(restricted, batch["key"], maxima.locations)
        if advance is not None:
            advance(len(batch["key"]))
    top_images.merge_over_ranks()
    return top_images
