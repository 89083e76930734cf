"""Legend of pictures: a colour bar with its numbers, and which maximum they count by."""

import numpy as np
import torch
from PIL import Image, ImageDraw

from vitrine.visualization.colour_map import NEGATIVE, POSITIVE, colours, opacities
from vitrine.visualization.fonts import font
from vitrine.visualization.scale import Scale, blur_note

HEIGHT = 40
"""Of a legend, in pixels."""
BAR, LEFT = (120, 10), 10
NOTES = {"common": "1: strongest place of the largest score", "own": "1: strongest place of each heatmap"}


def with_legend(
    picture: Image.Image, *, scale: Scale = "common", signed: bool = False, sigma: float | None = None
) -> Image.Image:
    """The picture above a legend of its heatmaps; a narrow picture has the bar alone.

    Args:
        picture: of heatmaps.
        scale: by which maximum they are drawn, see `vitrine.visualization.scale`.
        signed: whether both signs are drawn.
        sigma: of the Gaussian that they are blurred by for display, see `display_blur`.
    """
    canvas = Image.new("RGB", (picture.width, picture.height + HEIGHT), "white")
    canvas.paste(picture, (0, 0))
    draw, top = ImageDraw.Draw(canvas), picture.height + 4
    canvas.paste(colour_bar(signed=signed), (LEFT, top))
    ends = ("−1", "+1") if signed else ("0", "1")
    for text, x, anchor in ((ends[0], LEFT, "la"), (ends[1], LEFT + BAR[0], "ra")):
        draw.text((x, top + BAR[1] + 2), text, fill="#555555", font=font(11, "−"), anchor=anchor)
    start, blurred = LEFT + BAR[0] + 12, blur_note(sigma)
    for note in (f"{NOTES[scale]}; {blurred}" if blurred else NOTES[scale], NOTES[scale]):
        if start + font(11).getlength(note) <= picture.width:
            draw.text((start, top - 2), note, fill="#555555", font=font(11))
            break
    return canvas


def colour_bar(*, signed: bool = False) -> Image.Image:
    """The colours of strengths from 0 to 1, or from −1 to 1, over mid grey."""
    width, height = BAR
    values = torch.linspace(-1 if signed else 0, 1, width)
    shown = (
        np.where((values >= 0)[:, None], np.array(POSITIVE, np.uint8), np.array(NEGATIVE, np.uint8))
        if signed
        else colours(values)
    )
    alpha = opacities(values.abs())[:, None] / 255
    row = np.rint(alpha * shown + (1 - alpha) * 136).astype(np.uint8)
    return Image.fromarray(np.repeat(row[None], height, axis=0), "RGB")
