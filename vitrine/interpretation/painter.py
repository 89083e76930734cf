"""Filters on images, drawn in the ways that average images compare."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from vitrine.attribution.class_activation import upsampled
from vitrine.attribution.filter_heatmaps import Filter, filter_heatmaps
from vitrine.attribution.guided_backprop import GuidedBackprop
from vitrine.attribution.precision import in_full
from vitrine.glass import behind_glass, captured
from vitrine.responses import ResponseLayer


class FilterPainter:
    """Draws filters of any layers on images in three ways.

    Args:
        model: the network, which stays as it was.
        layers: those that filters may be of.
    """

    def __init__(self, model: nn.Module, layers: Sequence[ResponseLayer]) -> None:
        self.model = model
        self.axes = {layer.name: layer.axis for layer in layers if layer.spatial}
        axes = {layer.name: layer.axis for layer in layers}
        self.guided_backprop = partial(filter_heatmaps, GuidedBackprop(model), axes=axes)
        self.heatmaps = partial(filter_heatmaps, GuidedBackprop(model, stride_one=True), axes=axes)

    def __call__(self, images: Tensor, filters: Sequence[Sequence[Filter]]) -> Tensor:
        """(B, K, C + 3, H, W) of (B, C, H, W) images and K filters of each.

        The planes are the image's own C, the upsampled activation (0 for layers without places), guided backprop, and
        guided backprop with stride 1. Of a signal at the pixels the largest absolute value over colours is taken (Simonyan et
        al., 2014): in a sum, the signal of a filter for a colour would cancel itself.
        """
        with torch.inference_mode(mode=False):
            images = images.clone()  # made in inference mode, they could not go into a graph
            ways = [way(images, filters).abs().amax(dim=2) for way in (self.guided_backprop, self.heatmaps)]
            maps = torch.stack([self.activations(images, filters), *ways], dim=2)
            return torch.cat([images[:, None].expand(-1, len(filters[0]), -1, -1, -1), maps], dim=2)

    def activations(self, images: Tensor, filters: Sequence[Sequence[Filter]]) -> Tensor:
        """(B, K, H, W): the filters' own maps, upsampled; 0 for layers without places."""
        layers = {layer for row in filters for layer, _ in row} & self.axes.keys()
        with behind_glass(self.model), torch.no_grad(), captured(self.model, sorted(layers)) as outputs:
            self.model(images.clone())
        drawn = in_full(images).new_zeros(len(images), len(filters[0]), *images.shape[2:])
        for image, row in enumerate(filters):
            for place, (layer, channel) in enumerate(row):
                if layer in self.axes:
                    map_ = in_full(outputs[layer][image].select(self.axes[layer] - 1, channel))
                    drawn[image, place] = upsampled(map_[None, None], images)[0, 0]
        return drawn
