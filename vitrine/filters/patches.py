"""Image patches around the strongest response of a filter, with the maps drawn of them."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrine.attribution.gradient.deconvnet import GuidedBackprop
from vitrine.backbones.guard import eval_guard
from vitrine.backbones.taps import captured
from vitrine.core.distributed import sum_over_ranks
from vitrine.core.image_ops import upsampled
from vitrine.core.precision import in_full
from vitrine.filters.heatmaps import Filter, filter_heatmaps
from vitrine.filters.layers import ResponseLayer


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
        with eval_guard(self.model), torch.no_grad(), captured(self.model, sorted(layers)) as outputs:
            self.model(images.clone())
        drawn = in_full(images).new_zeros(len(images), len(filters[0]), *images.shape[2:])
        for image, row in enumerate(filters):
            for place, (layer, channel) in enumerate(row):
                if layer in self.axes:
                    map_ = in_full(outputs[layer][image].select(self.axes[layer] - 1, channel))
                    drawn[image, place] = upsampled(map_[None, None], images)[0, 0]
        return drawn


class Box(NamedTuple):
    """Pixels x0 ≤ x < x1, y0 ≤ y < y1; may reach over the image's borders."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.y1 - self.y0, self.x1 - self.x0

    def at_most(self, height: int, width: int) -> "Box":
        """The box, made as small as this about its middle where it is larger."""
        x0, x1 = _at_most(self.x0, self.x1, width)
        y0, y1 = _at_most(self.y0, self.y1, height)
        return Box(x0, y0, x1, y1)


def _at_most(start: int, end: int, length: int) -> tuple[int, int]:
    if end - start <= length:
        return start, end
    first = (start + end - length) // 2
    return first, first + length


def cut(stack: Tensor, box: Box) -> Tensor:
    """(n, y1 − y0, x1 − x0) of an (n, H, W) stack of pixels; 0 where the box reaches over a border."""
    inside = stack[:, max(box.y0, 0) : max(box.y1, 0), max(box.x0, 0) : max(box.x1, 0)]
    left, top = min(max(-box.x0, 0), box.size[1]), min(max(-box.y0, 0), box.size[0])
    right, bottom = box.size[1] - left - inside.shape[2], box.size[0] - top - inside.shape[1]
    return F.pad(inside, (left, right, top, bottom))


def fitted(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Height and width with the longer one brought down to ``side`` where it is more."""
    scale = min(1.0, side / max(size))
    height, width = (max(1, round(scale * length)) for length in size)
    return height, width


def resized(stack: Tensor, size: tuple[int, int]) -> Tensor:
    """An (n, h, w) stack at another size, bilinearly and without aliasing; as it is where it has that size."""
    if tuple(stack.shape[1:]) == size:
        return stack
    return F.interpolate(stack[None], size, mode="bilinear", align_corners=False, antialias=True)[0]


class PatchMean:
    """The mean of (n, h, w) patches, accumulated in float64.

    Args:
        planes: n.
        size: h and w.
    """

    def __init__(self, planes: int, size: tuple[int, int]) -> None:
        self.total = torch.zeros(planes, *size, dtype=torch.float64)
        self.count = 0

    def add(self, patch: Tensor) -> None:
        """Takes in a patch, brought to the size."""
        height, width = self.total.shape[1:]
        self.total += resized(patch, (height, width)).cpu()
        self.count += 1

    def sum_over_ranks(self, device: torch.device) -> None:
        """Takes in what all processes have; a collective, which needs tensors on the processes' own device."""
        self.total = sum_over_ranks(self.total.to(device)).cpu()
        self.count = int(sum_over_ranks(torch.tensor(self.count, device=device)))

    def mean(self) -> Tensor:
        """(n, h, w) float64; NaN where there was no patch."""
        return self.total / self.count if self.count else torch.full_like(self.total, torch.nan)
