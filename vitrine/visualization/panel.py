"""Panels: images with their predictions, heatmaps and contributions, one row for each image."""

from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image
from torch import Tensor

from vitrine.core.explanation import Explanation, class_name
from vitrine.core.heatmap_texts import HeatmapTexts
from vitrine.visualization.grid import LINE, GridLayout, draw_cell
from vitrine.visualization.layers import View
from vitrine.visualization.legend import with_legend
from vitrine.visualization.overlays import overlay, picture, resized
from vitrine.visualization.scale import Scale, shares

LAYER_COLOURS = {"conv": "#1a7f37", "pool": "#1a7f37", "norm": "#1a7f37", "linear": "#d0307f"}
"""Colours of heatmaps' captions by the kind of their layer: green for convolutional, pink for fully connected ones."""


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
    scale: Scale = "common",
    view: View = "heat",
    texts: HeatmapTexts = HeatmapTexts(),  # noqa: B008 - frozen
) -> Image.Image:
    """Draws one row for each image: the image under its prediction, then its heatmaps under labels and scores.

    Heatmaps that are not valid are left out. A legend below tells the scale of the colours.

    Args:
        images: (B, 3, H, W) float in [0, 1].
        explanation: of these B images.
        classes: names of the first classes, of all or fewer.
        heatmaps: maximum number of heatmaps of an image; all without it.
        by_score: whether the heatmaps of an image are sorted by falling score; in the explanation's order otherwise.
        beside: label and (B, 1, H, W) maps of the explained logit, drawn between image and heatmaps with the logit.
        cell: longer side of a picture in pixels.
        opacity: of a heatmap at its maximum, in [0, 1].
        sigma: of the Gaussian for display, in pixels of the images; 2 % of the longer side without it.
        scale: ``common`` to the heatmaps of an image, or each its ``own``, see `vitrine.visualization.scale`.
        view: ``heat``, ``contour`` or ``mask``, see `heat_layer`.
        texts: of the explainer, see `Explainer.heatmap_texts`: how scores are written, and whether maps have two signs.

    Raises:
        ValueError: where images, explanation and maps beside them differ in number, or there are none.
    """
    if not len(images) or len(images) != len(explanation):
        raise ValueError(f"a panel needs as many images as explanations, got {len(images)} and {len(explanation)}")
    if beside is not None and len(beside[1]) != len(images):
        raise ValueError(f"a panel needs as many maps beside as images, got {len(beside[1])} and {len(images)}")
    explanation = explanation.cpu()
    shown = [_order(explanation, row, by_score=by_score)[:heatmaps] for row in range(len(images))]
    first = 1 if beside is None else 2
    width, height = resized(picture(images[0]), cell).size
    lines = 3 if bool((explanation.target != explanation.prediction).any()) else 2
    layout = GridLayout(len(images), first + max(map(len, shown)), width, height, caption=LINE * lines + 4)
    canvas = Image.new("RGB", layout.size, "white")
    scale = scale if texts.comparable else "own"
    look = _Look(cell, opacity, sigma, view, texts.signed)
    for row, image in enumerate(images):
        draw_cell(
            canvas, layout.corner(row, 0), resized(picture(image), cell), predicted_lines(explanation, row, classes)
        )
        if beside is not None:
            caption = [beside[0], f"{explained_logit(explanation, row):+.2f}"]
            draw_cell(canvas, layout.corner(row, 1), look.tile(image, beside[1][row, 0]), caption)
        valid = explanation.valid_heatmaps(row)
        of_map = dict(zip(valid, shares(explanation.scores[row, valid].tolist(), scale), strict=True))
        for column, index in enumerate(shown[row], start=first):
            tile = look.tile(image, explanation.heatmaps[row, index], of_map[index])
            caption = [explanation.labels[row][index], texts.score_text(explanation.scores[row, index].item())]
            draw_cell(canvas, layout.corner(row, column), tile, caption, layer_colour(explanation, row, index))
    return with_legend(canvas, scale=scale, signed=texts.signed, sigma=sigma)


class _Look(NamedTuple):
    """How the heatmaps of a panel are drawn."""

    cell: int
    opacity: float
    sigma: float | None
    view: View
    signed: bool

    def tile(self, image: Tensor, heatmap: Tensor, share: float = 1.0) -> Image.Image:
        """An image under a heatmap, as large as a cell."""
        look = self._asdict()
        return overlay(image, heatmap, side=look.pop("cell"), share=share, **look)


def layer_colour(explanation: Explanation, image: int, index: int) -> str | None:
    """Colour of the caption of a heatmap of a layer; None where the kind of the layer is unknown."""
    return None if explanation.kinds is None else LAYER_COLOURS.get(explanation.kinds[image][index])


def predicted_lines(explanation: Explanation, row: int, classes: Sequence[str]) -> list[str]:
    """The predicted class, its probability, and the explained class where it is another one."""
    prediction, target = int(explanation.prediction[row]), int(explanation.target[row])
    lines = [class_name(classes, prediction), f"{100 * probability_of(explanation, row):.1f} %"]
    return lines if target == prediction else [*lines, f"explains {class_name(classes, target)}"]


def probability_of(explanation: Explanation, row: int) -> float:
    """Probability of the predicted class of one image."""
    return float(explanation.probabilities()[row, explanation.prediction[row]])


def explained_logit(explanation: Explanation, row: int) -> float:
    """The backbone's logit of the explained class of one image."""
    return float(explanation.logits[row, explanation.target[row]])


def _order(explanation: Explanation, row: int, *, by_score: bool) -> list[int]:
    valid = explanation.valid_heatmaps(row)
    if not by_score:
        return valid
    falling = explanation.scores[row].argsort(descending=True, stable=True).tolist()
    return [index for index in falling if index in valid]
