"""Overlays at a picture's own size: heatmaps of a cropped, resized input placed back on the picture it was made of."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vitrine.core.explained_pictures import SourceGeometry
from vitrine.data.colours import to_rgb
from vitrine.data.orientation import upright
from vitrine.visualization.layers import View, heat_layer
from vitrine.visualization.overlays import NO_EVIDENCE, faded, with_note


def overlay_on_source(
    picture: Image.Image,
    heatmap: Tensor,
    geometry: SourceGeometry,
    *,
    opacity: float = 0.8,
    sigma: float = 0.0,
    share: float = 1.0,
    view: View = "heat",
    signed: bool = False,
) -> Image.Image:
    """A heatmap over the picture that its input was made of, at the picture's own size.

    What the preprocessing cut away stays without colour; a map without positive evidence gives the plain picture with a
    note.

    Args:
        picture: as it was given to the preprocessing, of any colour mode; its EXIF orientation is followed.
        heatmap: (H, W) at the size of the input, of any float type and scale; its positive part is shown.
        geometry: the preprocessing by which the input was made.
        opacity: of the heatmap at its maximum, in [0, 1].
        sigma: of the Gaussian for display, in pixels of the input; 0 for none.
        share: as in `vitrine.visualization.layers.heat_layer`.
        view: likewise.
        signed: likewise.

    Returns:
        An upright RGB picture.

    Raises:
        ValueError: where the heatmap has not the size of the input, and as `vitrine.data.colours.to_rgb` raises it.

    Example:
        >>> from vitrine.data.preprocessing import Preprocessing
        >>> picture = Image.new("RGB", (300, 200), "gray")
        >>> drawn = overlay_on_source(picture, torch.rand(64, 64), Preprocessing(size=64, resize=64))
        >>> drawn.size, drawn.getpixel((20, 100))  # left of the square in the middle
        ((300, 200), (128, 128, 128))
    """
    _check_size(heatmap, geometry)
    plain = to_rgb(upright(picture))
    layer = heat_layer(heatmap, sigma=sigma, share=share, view=view, signed=signed)
    if layer is None:
        return with_note(plain, NO_EVIDENCE)
    placed = Image.fromarray(_placed(np.asarray(faded(layer, opacity)), geometry, plain.size), "RGBA")
    return Image.alpha_composite(plain.convert("RGBA"), placed).convert("RGB")


def to_source(heatmap: Tensor, geometry: SourceGeometry, size: tuple[int, int]) -> Tensor:
    """The values of a heatmap at each pixel of the picture that its input was made of, bilinearly.

    Args:
        heatmap: (H, W) at the size of the input.
        geometry: the preprocessing by which the input was made.
        size: width and height of the upright picture in pixels.

    Returns:
        (height, width) float32; NaN where the preprocessing cut the picture away.

    Raises:
        ValueError: where the heatmap has not the size of the input.

    Example:
        >>> from vitrine.data.preprocessing import Preprocessing
        >>> to_source(torch.ones(2, 2), Preprocessing(size=2, resize=2), (4, 2)).tolist()
        [[nan, 1.0, 1.0, nan], [nan, 1.0, 1.0, nan]]
    """
    _check_size(heatmap, geometry)
    values = heatmap.detach().cpu().float().numpy()
    return torch.from_numpy(_placed(values, geometry, size, outside=np.nan))


def _placed(
    values: NDArray[np.generic], geometry: SourceGeometry, size: tuple[int, int], outside: float = 0
) -> NDArray[np.generic]:
    """(H, W) floats or (H, W, 4) bytes of the input at each pixel of the picture whose centre the input shows."""
    x0, y0, x1, y1 = geometry.source_window(size[1], size[0])
    left, right, columns = _covered(x0, x1, size[0])
    top, bottom, rows = _covered(y0, y1, size[1])
    placed = np.full((size[1], size[0], *values.shape[2:]), outside, dtype=values.dtype)
    if right > left and bottom > top:
        # Pixels at the rim reach over the input's edge by up to a half, where its outermost values go on.
        scale = geometry.size / min(x1 - x0, y1 - y0)
        rim = math.ceil(scale) + 1
        padded = np.pad(values, [(rim, rim), (rim, rim), (0, 0)][: values.ndim], mode="edge")
        left_edge, right_edge = (edge * geometry.size + rim for edge in columns)
        top_edge, bottom_edge = (edge * geometry.size + rim for edge in rows)
        box = (left_edge, top_edge, right_edge, bottom_edge)
        part = Image.fromarray(padded).resize((right - left, bottom - top), Image.Resampling.BILINEAR, box=box)
        placed[top:bottom, left:right] = np.asarray(part)
    return placed


def _covered(start: float, end: float, length: int) -> tuple[int, int, tuple[float, float]]:
    """Pixels first … last − 1 whose centres are in a window, and where their edges are in it, as shares of its length."""
    first = max(0, math.ceil(start - 0.5 - 1e-9))
    last = min(length, math.floor(end - 0.5 + 1e-9) + 1)
    return first, last, ((first - start) / (end - start), (last - start) / (end - start))


def _check_size(heatmap: Tensor, geometry: SourceGeometry) -> None:
    side = geometry.size
    if tuple(heatmap.shape) != (side, side):
        raise ValueError(
            f"a heatmap must be ({side}, {side}), as its preprocessing's size, got {tuple(heatmap.shape)}."
        )
