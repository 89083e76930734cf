"""Heatmap overlays: the colour map, transparent layers, and heatmaps over their images."""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from vitrine.core.image_ops import degenerate, display_blur

NO_EVIDENCE = "no positive evidence"

_OKLAB_TO_LMS = np.array(
    [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
)
_LMS_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def colours(strength: Tensor) -> NDArray[np.uint8]:
    """The colour map: sRGB bytes (…, 3) of strengths (…) in [0, 1].

    Lightness and hue change linearly from violet over red to yellow at constant chroma in OKLab (Ottosson 2020), so that
    the map is perceptually uniform and readable in greyscale.
    """
    starts, steps = _colour_steps()
    found: NDArray[np.uint8] = steps[np.searchsorted(starts, strength.double().numpy(), side="right")]
    return found


@cache
def _colour_steps() -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """The colour map as steps of one colour each: where all but the first begin, (S − 1), and their bytes, (S, 3)."""
    places = np.linspace(0, 1, 1 << 16)  # of which two neighbours are at most one step of a channel apart
    coloured = exact_colours(places)
    at, channel = np.nonzero(coloured[1:] != coloured[:-1])
    low, high, before = places[at], places[at + 1], coloured[at, channel]
    for _ in range(60):  # down to neighbouring floats
        middle = (low + high) / 2
        is_before = exact_colours(middle)[np.arange(len(at)), channel] == before
        low, high = np.where(is_before, middle, low), np.where(is_before, high, middle)
    starts = np.unique(high)
    return starts, exact_colours(np.concatenate([[0.0], starts]))


def exact_colours(t: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The formula of `colours`, which looks its steps up as the formula takes longer than all else of an overlay."""
    lightness, hue, chroma = 0.3 + 0.6 * t, np.deg2rad(290 + 170 * t), 0.165
    oklab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=-1)
    linear = np.clip((oklab @ _OKLAB_TO_LMS.T) ** 3 @ _LMS_TO_RGB.T, 0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    colour: NDArray[np.uint8] = np.rint(255 * srgb).astype(np.uint8)
    return colour


def positive_strength(heatmap: Tensor, sigma: float | None = None) -> Tensor | None:
    """The positive part of the blurred map, divided by its maximum: (H, W) in [0, 1].

    Args:
        heatmap: (H, W), of any float type and scale.
        sigma: of the Gaussian, in pixels; 2 % of the longer side where it is not given.

    Returns:
        None where the map is `degenerate`, or nowhere positive.
    """
    values = heatmap.detach().cpu().float()
    if values.ndim != 2:
        raise ValueError(f"a heatmap must be (H, W), got {tuple(values.shape)}")
    if degenerate(heatmap.detach().cpu()):
        return None
    scaled = values / values.abs().max()  # of any scale: gradients at the pixels may be almost denormal
    blurred = display_blur(scaled, sigma)
    positive = blurred.clamp(min=0)
    return positive / positive.max() if positive.max() > 0 else None


def heat_layer(heatmap: Tensor, *, sigma: float | None = None) -> Image.Image | None:
    """The heatmap as an RGBA layer over its image: transparent at zero, more opaque for higher values.

    Args:
        heatmap: (H, W), of any float type and scale.
        sigma: of the Gaussian for display, in pixels; 2 % of the longer side where it is not given.

    Returns:
        None where the map has no positive evidence, see `positive_strength`.
    """
    strength = positive_strength(heatmap, sigma)
    if strength is None:
        return None
    alpha = np.rint(255 * strength.numpy() ** 0.75).astype(np.uint8)
    return Image.fromarray(np.dstack([colours(strength), alpha]), "RGBA")


def picture(image: Tensor) -> Image.Image:
    """A PIL image of a (3, H, W) float image in [0, 1]; (1, H, W) is grey, and the opacity of (4, H, W) is dropped."""
    if image.ndim != 3 or image.shape[0] not in {1, 3, 4}:
        raise ValueError(f"an image must be (3, H, W), or have 1 or 4 channels, got {tuple(image.shape)}")
    colours = image[:3] if len(image) > 1 else image.expand(3, -1, -1)
    values = colours.detach().cpu().float().nan_to_num().clamp(0, 1).permute(1, 2, 0)
    return Image.fromarray((255 * values).round().byte().numpy(), "RGB")


def save_png(image: Image.Image, path: Path) -> None:
    """Writes a PNG file; at its lowest compression, which takes less than half the time for a sixth more bytes."""
    image.save(path, format="PNG", compress_level=1)


def signed_picture(heatmap: Tensor) -> Image.Image:
    """A PIL image of an (H, W) signed map: white at 0, red above, blue below, scaled by the 99.5 % quantile of |map|."""
    values = heatmap.detach().cpu().double().nan_to_num(0, 0, 0)
    scaled = (values / values.abs().flatten().quantile(0.995).clamp(min=torch.finfo(values.dtype).tiny)).clamp(-1, 1)
    white = 1 - scaled.abs()
    return picture(torch.stack([torch.where(scaled > 0, 1, white), white, torch.where(scaled < 0, 1, white)]).float())


def overlay(
    image: Tensor, heatmap: Tensor, *, opacity: float = 0.8, sigma: float | None = None, side: int | None = None
) -> Image.Image:
    """A heatmap over its image; for a map without positive evidence the plain image with a note.

    Args:
        image: (3, H, W) float in [0, 1].
        heatmap: (H, W), of any float type and scale; its positive part is shown, divided by its maximum.
        opacity: of the heatmap at its maximum, in [0, 1].
        sigma: of the Gaussian for display, in pixels of the image; 2 % of the longer side where it is not given.
        side: longer side of the result in pixels; that of the image without it.

    Raises:
        ValueError: where the sizes of the image and the heatmap differ, or the opacity is not in [0, 1].
    """
    if image.shape[-2:] != heatmap.shape[-2:]:
        raise ValueError(f"heatmap {tuple(heatmap.shape)} and image {tuple(image.shape)} must have the same H and W")
    plain, layer = picture(image), heat_layer(heatmap, sigma=sigma)
    if layer is None:
        return with_note(resized(plain, side), NO_EVIDENCE)
    return resized(Image.alpha_composite(plain.convert("RGBA"), faded(layer, opacity)).convert("RGB"), side)


def faded(layer: Image.Image, opacity: float) -> Image.Image:
    """An RGBA layer whose opacity is multiplied by a factor.

    Raises:
        ValueError: where the factor is not in [0, 1].
    """
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity must be in [0, 1], got {opacity}")
    faint = layer.copy()
    faint.putalpha(layer.getchannel("A").point(lambda alpha: round(alpha * opacity)))
    return faint


def resized(image: Image.Image, side: int | None) -> Image.Image:
    """The image with a longer side of so many pixels; unchanged for None."""
    if side is None:
        return image
    scale = side / max(image.size)
    width, height = (max(1, round(scale * length)) for length in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def with_note(image: Image.Image, text: str) -> Image.Image:
    """The image with a line of text on a dark strip along its lower edge."""
    size = max(8, min(14, image.width // 13))
    strip = Image.new("RGBA", image.size)
    top = image.height - round(1.6 * size)
    draw = ImageDraw.Draw(strip)
    draw.rectangle((0, top, *image.size), fill=(0, 0, 0, 170))
    middle = (image.width / 2, (top + image.height) / 2)
    draw.text(middle, text, fill="white", font=ImageFont.load_default(size), anchor="mm")
    return Image.alpha_composite(image.convert("RGBA"), strip).convert("RGB")
