"""Heatmaps as pictures: one overlay, or a panel of them with predictions and contributions."""

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from vitrine.explanation import Explanation

NO_EVIDENCE = "no positive evidence"
LAYER_COLOURS = {"conv": "#1a7f37", "pool": "#1a7f37", "norm": "#1a7f37", "linear": "#d0307f"}
"""Of a heatmap's caption by the kind of its layer: green for convolutional ones, pink for fully-connected ones."""
LINE = 18  # pixels from line to line of a panel's captions
WIDEST_TITLE = 640  # pixels; a narrower grid gets a margin, so that its title can be read
BLUR = 0.02  # of the longer side: turns the spikes of a map at the pixels into areas that can be seen

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
    """Maps strengths in [0, 1], of any shape, to sRGB bytes of the same shape with 3 channels behind.

    Lightness and hue run straight from violet over red to yellow at constant chroma in OKLab (Ottosson 2020), which
    makes the map perceptually uniform by construction, and readable in greyscale.
    """
    t = strength.double().numpy()
    lightness, hue, chroma = 0.3 + 0.6 * t, np.deg2rad(290 + 170 * t), 0.165
    oklab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=-1)
    linear = np.clip((oklab @ _OKLAB_TO_LMS.T) ** 3 @ _LMS_TO_RGB.T, 0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    colour: NDArray[np.uint8] = np.rint(255 * srgb).astype(np.uint8)
    return colour


def blur(heatmap: Tensor, sigma: float) -> Tensor:
    """Blurs (…, H, W) float maps by a Gaussian of ``sigma`` pixels; a constant map stays constant up to its borders."""
    if sigma <= 0:
        return heatmap
    flat = heatmap.reshape(-1, 1, *heatmap.shape[-2:])
    blurred = _smear(flat, sigma) / _smear(torch.ones_like(flat[:1]), sigma)
    return blurred.reshape(heatmap.shape)


def _smear(heatmap: Tensor, sigma: float) -> Tensor:
    radius = math.ceil(3 * sigma)
    offsets = torch.arange(-radius, radius + 1, dtype=heatmap.dtype, device=heatmap.device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)
    rows = F.conv2d(heatmap, kernel, padding=(0, radius))
    return F.conv2d(rows, kernel.mT, padding=(radius, 0))


def positive_strength(heatmap: Tensor, sigma: float | None = None) -> Tensor | None:
    """The blurred map's positive part over its own maximum, (H, W) in [0, 1].

    Args:
        heatmap: (H, W), of any float type and scale.
        sigma: Of the Gaussian, in pixels; 2 % of the longer side where it is not given.

    Returns:
        ``None`` where the map is constant, not finite, or nowhere positive: there is nothing to draw.
    """
    values = heatmap.detach().cpu().float()
    if values.ndim != 2:
        raise ValueError(f"a heatmap must be (H, W), got {tuple(values.shape)}")
    if not values.isfinite().all() or values.max() == values.min():
        return None
    scaled = values / values.abs().max()  # maps of any scale: those at the pixels may be all but denormal
    positive = blur(scaled, BLUR * max(values.shape) if sigma is None else sigma).clamp(min=0)
    return positive / positive.max() if positive.max() > 0 else None


def heat_layer(heatmap: Tensor, *, sigma: float | None = None) -> Image.Image | None:
    """The heatmap as an RGBA layer to lay over its image: transparent at zero, the less so the stronger.

    Args:
        heatmap: (H, W), of any float type and scale.
        sigma: Of the Gaussian for display, in pixels; 2 % of the longer side where it is not given.

    Returns:
        ``None`` where the map shows no positive evidence, as ``positive_strength`` says.
    """
    strength = positive_strength(heatmap, sigma)
    if strength is None:
        return None
    alpha = np.rint(255 * strength.numpy() ** 0.75).astype(np.uint8)
    return Image.fromarray(np.dstack([colours(strength), alpha]), "RGBA")


def picture(image: Tensor) -> Image.Image:
    """An RGB picture of a (3, H, W) float image in [0, 1]."""
    if image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(f"an image must be (3, H, W), got {tuple(image.shape)}")
    values = image.detach().cpu().float().nan_to_num().clamp(0, 1).permute(1, 2, 0)
    return Image.fromarray((255 * values).round().byte().numpy(), "RGB")


def signed_picture(heatmap: Tensor) -> Image.Image:
    """An RGB picture of an (H, W) map of both signs: white at 0, red above, blue below, by the 99.5 % quantile of |map|."""
    values = heatmap.detach().cpu().double().nan_to_num(0, 0, 0)
    scaled = (values / values.abs().flatten().quantile(0.995).clamp(min=torch.finfo(values.dtype).tiny)).clamp(-1, 1)
    white = 1 - scaled.abs()
    return picture(torch.stack([torch.where(scaled > 0, 1, white), white, torch.where(scaled < 0, 1, white)]).float())


def captioned_grid(rows: Sequence[Sequence[tuple[str, Image.Image]]], title: str = "") -> Image.Image:
    """Pictures of one size in rows, each below its caption of one or more lines; rows may differ in length.

    Args:
        rows: captions and pictures.
        title: a line above them all.

    Raises:
        ValueError: where there is no picture.
    """
    if not rows or not rows[0]:
        raise ValueError("a grid needs at least one picture")
    width, height = rows[0][0][1].size
    lines = max(caption.count("\n") + 1 for row in rows for caption, _ in row)
    sheet = _Sheet(len(rows), max(map(len, rows)), width, height, caption=LINE * lines + 4)
    canvas = Image.new("RGB", sheet.size, "white")
    for row, cells in enumerate(rows):
        for column, (caption, tile) in enumerate(cells):
            _draw(canvas, sheet.corner(row, column), tile, caption.split("\n"))
    return _titled(canvas, title, margin=sheet.gap) if title else canvas


def _titled(grid: Image.Image, title: str, margin: int) -> Image.Image:
    """The picture below a line of text."""
    font = ImageFont.load_default(16)
    width = max(grid.width, min(round(font.getlength(title)) + 2 * margin, WIDEST_TITLE))
    canvas = Image.new("RGB", (width, grid.height + 2 * LINE), "white")
    text = _fitted(title, font, width - 2 * margin)
    ImageDraw.Draw(canvas).text((margin, margin), text, fill="#111111", font=font)
    canvas.paste(grid, (0, 2 * LINE))
    return canvas


def overlay(
    image: Tensor, heatmap: Tensor, *, opacity: float = 0.8, sigma: float | None = None, side: int | None = None
) -> Image.Image:
    """Lays a heatmap over its image; a map without positive evidence gives the plain image and a note.

    Args:
        image: (3, H, W) float in [0, 1].
        heatmap: (H, W), of any float type and scale; its positive part is shown, scaled by its own maximum.
        opacity: Of the heatmap at its maximum, in [0, 1].
        sigma: Of the Gaussian for display, in pixels of the image; 2 % of the longer side where it is not given.
        side: Pixels of the picture's longer side; the image's own where it is not given.

    Raises:
        ValueError: If the sizes of the image and the heatmap differ, or the opacity is not in [0, 1].
    """
    if image.shape[-2:] != heatmap.shape[-2:]:
        raise ValueError(f"heatmap {tuple(heatmap.shape)} and image {tuple(image.shape)} must have the same H and W")
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity must be in [0, 1], got {opacity}")
    plain, layer = picture(image), heat_layer(heatmap, sigma=sigma)
    if layer is None:
        return _noted(_resized(plain, side), NO_EVIDENCE)
    layer.putalpha(layer.getchannel("A").point(lambda alpha: round(alpha * opacity)))
    return _resized(Image.alpha_composite(plain.convert("RGBA"), layer).convert("RGB"), side)


def _resized(image: Image.Image, side: int | None) -> Image.Image:
    if side is None:
        return image
    scale = side / max(image.size)
    width, height = (max(1, round(scale * length)) for length in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _noted(image: Image.Image, text: str) -> Image.Image:
    """Writes a line on a dark strip along the picture's lower edge."""
    size = max(8, min(14, image.width // 13))
    strip = Image.new("RGBA", image.size)
    top = image.height - round(1.6 * size)
    draw = ImageDraw.Draw(strip)
    draw.rectangle((0, top, *image.size), fill=(0, 0, 0, 170))
    middle = (image.width / 2, (top + image.height) / 2)
    draw.text(middle, text, fill="white", font=ImageFont.load_default(size), anchor="mm")
    return Image.alpha_composite(image.convert("RGBA"), strip).convert("RGB")


@dataclass(frozen=True)
class _Sheet:
    """Where the cells of a panel lie, in pixels."""

    rows: int
    columns: int
    width: int
    height: int
    caption: int
    gap: int = 10

    @property
    def size(self) -> tuple[int, int]:
        return (
            self.columns * (self.width + self.gap) + self.gap,
            self.rows * (self.caption + self.height + self.gap) + self.gap,
        )

    def corner(self, row: int, column: int) -> tuple[int, int]:
        """The lower left corner of a cell."""
        return self.gap + column * (self.width + self.gap), (row + 1) * (self.caption + self.height + self.gap)


def panel(
    images: Tensor,
    explanation: Explanation,
    classes: Sequence[str],
    *,
    heatmaps: int | None = None,
    by_score: bool = False,
    beside: tuple[str, Tensor] | None = None,
    cell: int = 160,
    opacity: float = 0.8,
    sigma: float | None = None,
) -> Image.Image:
    """One row an image: the image under its prediction, then its heatmaps under their labels and contributions.

    A heatmap with an empty label is padding, and is left out.

    Args:
        images: (B, 3, H, W) float in [0, 1].
        explanation: Of these B images.
        classes: Names of the classes, as far as they have any.
        heatmaps: At most so many heatmaps an image; all where it is not given.
        by_score: Draws the heatmaps of an image by falling score; in the explanation's order otherwise.
        beside: Label and (B, 1, H, W) maps of the explained logit itself, drawn between image and heatmaps with the logit.
        cell: Pixels of a picture's longer side.
        opacity: Of a heatmap at its maximum, in [0, 1].
        sigma: Of the Gaussian for display, in pixels of the images; 2 % of the longer side where it is not given.

    Raises:
        ValueError: If images, explanation and maps beside them differ in number, or there is none.
    """
    if not len(images) or len(images) != len(explanation):
        raise ValueError(f"a panel needs as many images as explanations, got {len(images)} and {len(explanation)}")
    if beside is not None and len(beside[1]) != len(images):
        raise ValueError(f"a panel needs as many maps beside as images, got {len(beside[1])} and {len(images)}")
    explanation = explanation.cpu()
    shown = [_order(explanation, row, by_score=by_score)[:heatmaps] for row in range(len(images))]
    first = 1 if beside is None else 2
    width, height = _resized(picture(images[0]), cell).size
    lines = 3 if bool((explanation.target != explanation.prediction).any()) else 2
    sheet = _Sheet(len(images), first + max(map(len, shown)), width, height, caption=LINE * lines + 4)
    canvas = Image.new("RGB", sheet.size, "white")
    for row, image in enumerate(images):
        _draw(canvas, sheet.corner(row, 0), _resized(picture(image), cell), _predicted(explanation, row, classes))
        if beside is not None:
            tile = overlay(image, beside[1][row, 0], opacity=opacity, sigma=sigma, side=cell)
            _draw(canvas, sheet.corner(row, 1), tile, [beside[0], f"{explained_logit(explanation, row):+.2f}"])
        for column, index in enumerate(shown[row], start=first):
            tile = overlay(image, explanation.heatmaps[row, index], opacity=opacity, sigma=sigma, side=cell)
            caption = [explanation.labels[row][index], f"{explanation.scores[row, index].item():+.2f}"]
            _draw(canvas, sheet.corner(row, column), tile, caption, layer_colour(explanation, row, index))
    return canvas


def layer_colour(explanation: Explanation, row: int, index: int) -> str | None:
    """Colour for the caption of a heatmap that comes from a layer of a known kind; None for others."""
    return None if explanation.kinds is None else LAYER_COLOURS.get(explanation.kinds[row][index])


def _predicted(explanation: Explanation, row: int, classes: Sequence[str]) -> list[str]:
    """Name of the predicted class, its softmax probability, and the class explained where that is another."""
    prediction, target = int(explanation.prediction[row]), int(explanation.target[row])
    lines = [class_name(classes, prediction), f"{100 * probability_of(explanation, row):.1f} %"]
    return lines if target == prediction else [*lines, f"explains {class_name(classes, target)}"]


def class_name(classes: Sequence[str], index: int) -> str:
    """Name of a class; its number where the list of names does not reach so far."""
    return classes[index] if index < len(classes) else f"class {index}"


def probability_of(explanation: Explanation, row: int) -> float:
    """Softmax probability of the predicted class of one image."""
    return float(explanation.logits[row].float().softmax(dim=0)[explanation.prediction[row]])


def explained_logit(explanation: Explanation, row: int) -> float:
    """The backbone's logit of the explained class of one image."""
    return float(explanation.logits[row, explanation.target[row]])


def labelled(explanation: Explanation, row: int) -> list[int]:
    """Positions of an image's heatmaps, without those that are padding: their label is empty."""
    return [index for index, label in enumerate(explanation.labels[row]) if label]


def _order(explanation: Explanation, row: int, *, by_score: bool) -> list[int]:
    places = labelled(explanation, row)
    if not by_score:
        return places
    falling = explanation.scores[row].argsort(descending=True, stable=True).tolist()
    return [index for index in falling if index in places]


def _draw(
    canvas: Image.Image, corner: tuple[int, int], tile: Image.Image, caption: Sequence[str], colour: str | None = None
) -> None:
    """Draws a tile with its lower left corner at ``corner`` and the caption's lines above it, the first in ``colour``."""
    x, y = corner
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    for line, text in enumerate(caption):
        place = (x, y - tile.height - LINE * (len(caption) - line) - 2)
        draw.text(place, _fitted(text, font, tile.width), fill="#555555" if line else colour or "#111111", font=font)
    canvas.paste(tile, (x, y - tile.height))


def _fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The text in what the built-in font has (basic Latin), cut with dots in its middle where it is too wide.

    The middle goes because names of layers and species tell themselves apart at both ends.
    """
    text = unicodedata.normalize("NFKD", text)
    text = "".join(c if c.isascii() else "?" for c in text if not unicodedata.combining(c))
    if font.getlength(text) <= width:
        return text
    for kept in range(len(text) - 1, 1, -1):
        cut = f"{text[: (kept + 1) // 2].rstrip()}...{text[len(text) - kept // 2 :].lstrip()}"
        if font.getlength(cut) <= width:
            return cut
    return "..."
