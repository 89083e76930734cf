"""Frames: colours, anti-aliased pixels, exact masks and boxes from sub-samples."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitrine.data.an8flower.renderer import Layer
from vitrine.data.an8flower.variants import Part

_LEVELS = 4095
"""Quantisation levels of linear light; integers, so that sums over sub-samples are exact in any order."""


def colour(layer: Layer, palette: NDArray[np.float32]) -> NDArray[np.uint16]:
    """(n, n, 3) linear light of each sub-sample: (P, 3) palette[part] · light + highlight, clipped at white."""
    light = palette[layer.part] * layer.light + layer.highlight[..., None]
    return np.asarray(np.rint(np.clip(light, 0, 1) * _LEVELS), np.uint16)


def resolve(linear: NDArray[np.uint16], supersampling: int) -> NDArray[np.uint8]:
    """(H, W, 3) sRGB pixels, each the mean of its s × s sub-samples."""
    blocks = _blocks(linear, supersampling)
    return np.asarray(_encoding(supersampling)[blocks.sum(axis=(1, 3), dtype=np.uint32)], np.uint8)


def part_mask(parts: NDArray[np.uint8], part: Part, supersampling: int) -> NDArray[np.bool_]:
    """(H, W) bool: pixels with any sub-sample on the part."""
    return np.asarray(_blocks(parts == part, supersampling).any(axis=(1, 3)))


def part_map(parts: NDArray[np.uint8], named: Sequence[Part], supersampling: int) -> NDArray[np.uint16]:
    """(H, W) i + 1 where the middle sub-sample of a pixel is on part i of ``named``, 0 on all else."""
    ids = np.zeros(len(Part), np.uint16)
    ids[list(named)] = np.arange(1, len(named) + 1)
    middle = supersampling // 2
    return ids[parts[middle::supersampling, middle::supersampling]]


def tight_box(mask: NDArray[np.bool_]) -> list[int] | None:
    """x0, y0, x1, y1 (half open) of the box around a mask, or ``None`` for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]


def _blocks(values: NDArray[Any], s: int) -> NDArray[Any]:
    """(H·s, W·s, …) as (H, s, W, s, …)."""
    height, width, *channels = values.shape
    return values.reshape(height // s, s, width // s, s, *channels)


@cache
def _encoding(supersampling: int) -> NDArray[np.uint8]:
    """The sRGB byte of each possible sum over a pixel's sub-samples."""
    top = _LEVELS * supersampling**2
    light = np.arange(top + 1) / top
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(255 * encoded), np.uint8)
