"""Overlays: heatmaps over their images, as PIL pictures."""

import base64
import io
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from vitrine.visualization.fonts import font
from vitrine.visualization.layers import View, heat_layer

NO_EVIDENCE = "no positive evidence"


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
    image: Tensor,
    heatmap: Tensor,
    *,
    opacity: float = 0.8,
    sigma: float | None = None,
    side: int | None = None,
    share: float = 1.0,
    view: View = "heat",
    signed: bool = False,
) -> Image.Image:
    """A heatmap over its image; for a map without positive evidence the plain image with a note.

    Args:
        image: (3, H, W) float in [0, 1].
        heatmap: (H, W), of any float type and scale; its positive part is shown, divided by its maximum.
        opacity: of the heatmap at its maximum, in [0, 1].
        sigma: of the Gaussian for display, in pixels of the image; 2 % of the longer side without it.
        side: longer side of the result in pixels; that of the image without it.
        share: strength of the map's maximum on the colour scale, in [0, 1], see `vitrine.visualization.scale`.
        view: ``heat``, ``contour`` lines around strong places, or ``mask``, which darkens the others.
        signed: whether negative values are drawn too, see `heat_layer`.

    Raises:
        ValueError: where the sizes of the image and the heatmap differ, or the opacity is not in [0, 1].
    """
    if image.shape[-2:] != heatmap.shape[-2:]:
        raise ValueError(f"heatmap {tuple(heatmap.shape)} and image {tuple(image.shape)} must have the same H and W")
    plain, layer = picture(image), heat_layer(heatmap, sigma=sigma, share=share, view=view, signed=signed)
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
    draw.text(middle, text, fill="white", font=font(size), anchor="mm")
    return Image.alpha_composite(image.convert("RGBA"), strip).convert("RGB")


def data_url(image: Image.Image) -> str:
    """The picture itself as a URL."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=85)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
