"""Heatmap layers: transparent pictures that are laid over an image."""

from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vitrine.core.image_ops import degenerate, display_blur
from vitrine.visualization.colour_map import NEGATIVE, POSITIVE, colours, opacities

View = Literal["heat", "contour", "mask"]
"""Colours over the image, lines around its strong places, or the image darkened but there."""
LEVELS = (0.25, 0.5, 0.75)
"""Strengths that contours are drawn at."""
DARKNESS = 0.92
"""Opacity of the black over what a map does not point out."""


def signed_strength(heatmap: Tensor, sigma: float | None = None) -> Tensor | None:
    """The blurred map, divided by its largest absolute value: (H, W) in [-1, 1].

    Args:
        heatmap: (H, W), of any float type and scale.
        sigma: of the Gaussian, in pixels; 2 % of the longer side without it.

    Returns:
        None where the map is `degenerate`.

    Raises:
        ValueError: where it is not (H, W).
    """
    values = heatmap.detach().cpu().float()
    if values.ndim != 2:
        raise ValueError(f"a heatmap must be (H, W), got {tuple(values.shape)}")
    if degenerate(heatmap.detach().cpu()):
        return None
    blurred = display_blur(values / values.abs().max(), sigma)  # gradients at the pixels may be almost denormal
    return blurred / blurred.abs().max() if blurred.abs().max() > 0 else None


def positive_strength(heatmap: Tensor, sigma: float | None = None) -> Tensor | None:
    """The positive part of the blurred map, divided by its maximum: (H, W) in [0, 1].

    Args:
        heatmap: (H, W), of any float type and scale.
        sigma: of the Gaussian, in pixels; 2 % of the longer side without it.

    Returns:
        None where the map is `degenerate`, or nowhere positive.

    Raises:
        ValueError: where it is not (H, W).
    """
    strength = signed_strength(heatmap, sigma)
    if strength is None or strength.max() <= 0:
        return None
    positive = strength.clamp(min=0)
    return positive / positive.max()


def heat_layer(
    heatmap: Tensor, *, sigma: float | None = None, share: float = 1.0, view: View = "heat", signed: bool = False
) -> Image.Image | None:
    """The heatmap as an RGBA layer over its image.

    Args:
        heatmap: (H, W), of any float type and scale.
        sigma: of the Gaussian for display, in pixels; 2 % of the longer side without it.
        share: strength of the map's maximum on the scale, see `vitrine.visualization.scale`.
        view: ``heat``, more opaque for higher values; ``contour``; or ``mask``.
        signed: whether negative values are drawn too, in blue beside orange positive ones.

    Returns:
        None where the map has nothing to show: see `positive_strength` and `signed_strength`.
    """
    strength = (signed_strength if signed else positive_strength)(heatmap, sigma)
    if strength is None:
        return None
    size = share * strength.abs()
    if view == "mask":
        return _rgba(np.zeros((*size.shape, 3), np.uint8), np.rint(255 * DARKNESS * (1 - size).numpy()))
    if view == "contour":
        return _contours(size)
    return _rgba(_sign_colours(strength) if signed else colours(size), opacities(size))


def strength_layer(heatmap: Tensor, *, sigma: float | None = None) -> Image.Image | None:
    """The strength alone, as the opacity of black, which the filters of a page colour; None as of `heat_layer`."""
    strength = positive_strength(heatmap, sigma)
    return None if strength is None else _plain(np.zeros((*strength.shape, 3), np.uint8), strength)


def signed_layer(heatmap: Tensor, *, sigma: float | None = None) -> Image.Image | None:
    """The size as opacity of the colour of the sign, which the filters of a page make stronger; None as of `heat_layer`."""
    strength = signed_strength(heatmap, sigma)
    return None if strength is None else _plain(_sign_colours(strength), strength.abs())


def _plain(rgb: np.ndarray, strength: Tensor) -> Image.Image:
    return _rgba(rgb, np.rint(255 * strength.numpy()))


def _rgba(rgb: np.ndarray, alpha: np.ndarray) -> Image.Image:
    return Image.fromarray(np.dstack([rgb, alpha.astype(np.uint8)]), "RGBA")


def _sign_colours(strength: Tensor) -> np.ndarray:
    return np.where((strength >= 0).numpy()[..., None], np.array(POSITIVE, np.uint8), np.array(NEGATIVE, np.uint8))


def _contours(strength: Tensor) -> Image.Image:
    """Lines, a pixel wide, around the places above each of the levels."""
    rgb, alpha = np.zeros((*strength.shape, 3), np.uint8), np.zeros(strength.shape, np.uint8)
    for level in LEVELS:
        inside = (strength >= level).float()[None, None]
        line = ((torch.nn.functional.max_pool2d(inside, 3, 1, 1) - inside)[0, 0] > 0).numpy()
        rgb[line], alpha[line] = colours(torch.tensor(level)), 255
    return _rgba(rgb, alpha)
