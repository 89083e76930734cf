"""Source windows: which part of its source image a network's input shows, and where the annotated boxes are in that."""

from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors

from vitrine.data.shards.schema import BOX_ENTRIES

SOURCE_PREFIX = "source_"
"""Before the names of entries that are about the source image."""
SOURCE_BOXES = ("boxes", *BOX_ENTRIES)
"""Entries that a sample keeps of its source image, without those boxes being clipped or dropped."""
_CORNERS = "source_corners"


def with_source(sample: dict[str, Any]) -> dict[str, Any]:
    """A sample with boxes, before its geometry changes, with what `source_entries` needs; any other sample as it is."""
    if "boxes" not in sample:
        return sample
    height, width = sample["image"].shape[-2:]
    boxes = {f"{SOURCE_PREFIX}{name}": _plain(sample[name]) for name in SOURCE_BOXES if name in sample}
    size = torch.tensor([height, width])
    return {**sample, **boxes, f"{SOURCE_PREFIX}size": size, _CORNERS: corner_points(height, width)}


def source_entries(sample: dict[str, Any], size: int) -> dict[str, Tensor]:
    """``source_window`` of a sample from `with_source` after its geometry has changed, which loses its helper entry.

    Args:
        sample: whose image was resized, cropped and flipped.
        size: side of the square input.

    Returns:
        ``source_window``: (4,) float32 x0, y0, x1, y1 in pixels of the source: the input's left, upper, right and lower edge;
        x0 > x1 for an input that is flipped.
    """
    window = shown_window(sample.pop(_CORNERS), sample[f"{SOURCE_PREFIX}size"], size)
    return {f"{SOURCE_PREFIX}window": window.float()}


def corner_points(height: int, width: int) -> tv_tensors.KeyPoints:
    """The upper left and the lower right corner of a source image, to be transformed with it or in its place."""
    corners = torch.tensor([[0, 0], [width, height]], dtype=torch.float64)
    return tv_tensors.KeyPoints(corners, canvas_size=(height, width))


def shown_window(corners: Tensor, source_size: Tensor, size: int) -> Tensor:
    """(4,) float64 window of `source_entries`, from where the corners of the source are after its geometry has changed.

    Args:
        corners: (2, 2) x, y of `corner_points` in pixels of the input.
        source_size: (2,) height and width of the source.
        size: side of the square input.
    """
    first, last = corners.as_subclass(Tensor).double()
    flipped = last < first
    # torchvision flips indices of pixels: x becomes width − 1 − x, where an edge becomes width − x.
    first, last = first + flipped, last + flipped
    scale = (last - first) / source_size.flip(0)
    return torch.cat([(0 - first) / scale, (size - first) / scale])


def _plain(entry: Tensor) -> Tensor:
    """Of a tv_tensor the tensor, which no transform changes."""
    return entry.as_subclass(Tensor).clone()
