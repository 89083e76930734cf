"""Pictures of an explanation: overlays at the pictures' own size, one panel of all, and what `Explanation.save` writes."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from vitrine.core.atomic_io import atomic_file, atomic_folder
from vitrine.core.explained_pictures import ExplainedPictures
from vitrine.core.explanation import Explanation
from vitrine.core.file_names import slug
from vitrine.core.heatmap_texts import HeatmapTexts
from vitrine.core.image_inputs import check_images
from vitrine.core.image_ops import DISPLAY_SIGMA
from vitrine.visualization.grid import LINE, GridLayout, draw_cell
from vitrine.visualization.legend import with_legend
from vitrine.visualization.overlays import overlay, picture, resized, save_png
from vitrine.visualization.panel import layer_colour, predicted_lines
from vitrine.visualization.scale import Scale, shares
from vitrine.visualization.source_overlay import overlay_on_source

TENSORS = "heatmaps.safetensors"
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
NO_PICTURES = (
    "The explanation has no pictures to draw on; explain pictures or their files (explainer.explain('dog.jpg')), or give the"
    " images by explanation.with_pictures(images)."
)


class DrawnHeatmap(NamedTuple):
    """One heatmap over its picture."""

    number: int
    """Its position among the image's heatmaps."""
    label: str
    score: str
    image: Image.Image
    """At the picture's own size."""


def pictures_of(explanation: Explanation) -> ExplainedPictures:
    """The pictures that an explanation carries.

    Raises:
        ValueError: where it has none.
    """
    if explanation.pictures is None:
        raise ValueError(NO_PICTURES)
    return explanation.pictures


def pictures_of_tensor(images: Tensor, explanation: Explanation, classes: Sequence[str]) -> ExplainedPictures:
    """Images in [0, 1] as the pictures of an explanation; see `Explanation.with_pictures`."""
    check_images(images)
    if len(images) != len(explanation) or images.shape[2:] != explanation.heatmaps.shape[2:]:
        raise ValueError(
            f"images are {tuple(images.shape)}, and the heatmaps {tuple(explanation.heatmaps.shape)}; give as many, at the"
            " heatmaps' size."
        )
    if images.numel() and not (images.min() >= -1e-3 and images.max() <= 1 + 1e-3):
        raise ValueError("images must be in [0, 1]; give preprocessing.denormalize(images) of normalised ones.")
    drawn = [picture(image) for image in images]
    kept = explanation.pictures.texts if explanation.pictures else HeatmapTexts()
    return ExplainedPictures(drawn, [f"image {row}" for row in range(len(images))], None, tuple(classes), kept)


def drawn_heatmaps(explanation: Explanation, row: int) -> Iterator[DrawnHeatmap]:
    """The valid heatmaps of an image over its picture, on one colour scale where their scores compare them."""
    explanation, pictures = explanation.cpu(), pictures_of(explanation)
    valid, texts = explanation.valid_heatmaps(row), pictures.texts
    scores = explanation.scores[row, valid].tolist()
    for index, score, share in zip(valid, scores, shares(scores, "common" if texts.comparable else "own"), strict=True):
        image = _overlay(pictures, row, explanation.heatmaps[row, index], share)
        yield DrawnHeatmap(index, explanation.labels[row][index], texts.score_text(score), image)


def _overlay(pictures: ExplainedPictures, row: int, heatmap: Tensor, share: float) -> Image.Image:
    image, sigma, signed = pictures.images[row], display_sigma(heatmap), pictures.texts.signed
    if pictures.geometry is None:
        return overlay(_as_tensor(image), heatmap, sigma=sigma, share=share, signed=signed)
    return overlay_on_source(image, heatmap, pictures.geometry, sigma=sigma, share=share, signed=signed)


def display_sigma(heatmaps: Tensor) -> float:
    """σ in pixels that (…, H, W) heatmaps are blurred by, so that single pixels of one can be seen."""
    return DISPLAY_SIGMA * max(heatmaps.shape[-2:])


def _as_tensor(image: Image.Image) -> Tensor:
    from torchvision.transforms.v2.functional import pil_to_tensor  # noqa: PLC0415 - not for what draws no picture

    values: Tensor = pil_to_tensor(image).float() / 255
    return values


def explanation_panel(explanation: Explanation, cell: int) -> Image.Image:
    """See `Explanation.panel`."""
    pictures, explanation = pictures_of(explanation), explanation.cpu()
    rows = [
        [one._replace(image=_fitted(one.image, cell)) for one in drawn_heatmaps(explanation, row)]
        for row in range(len(explanation))
    ]
    lines = 3 if bool((explanation.target != explanation.prediction).any()) else 2
    layout = GridLayout(len(rows), 1 + max(map(len, rows)), cell, cell, caption=LINE * lines + 4)
    canvas = Image.new("RGB", layout.size, "white")
    for row, heatmaps in enumerate(rows):
        caption = predicted_lines(explanation, row, pictures.classes)
        draw_cell(canvas, layout.corner(row, 0), _fitted(pictures.images[row], cell), caption)
        for column, one in enumerate(heatmaps, start=1):
            colour = layer_colour(explanation, row, one.number)
            draw_cell(canvas, layout.corner(row, column), one.image, [one.label, one.score], colour)
    scale: Scale = "common" if pictures.texts.comparable and max(map(len, rows)) > 1 else "own"
    sigma = round(display_sigma(explanation.heatmaps), 1)
    return with_legend(canvas, scale=scale, signed=pictures.texts.signed, sigma=sigma)


def _fitted(image: Image.Image, cell: int) -> Image.Image:
    """The picture at the upper left of a white square, right below its caption."""
    square = Image.new("RGB", (cell, cell), "white")
    square.paste(resized(image, cell), (0, 0))
    return square


def show_picture(image: Image.Image) -> None:
    """Shows a picture below the cell of a notebook, or in the desktop's viewer."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None and hasattr(shell, "kernel"):
        from IPython.display import display  # noqa: PLC0415 - there where a notebook is

        display(image)  # type: ignore[no-untyped-call]
    else:
        image.show()


def save_explanation(explanation: Explanation, path: Path) -> None:
    """See `Explanation.save`."""
    pictures_of(explanation)
    if path.suffix.lower() in SUFFIXES:
        heatmaps = list(drawn_heatmaps(explanation, 0)) if len(explanation) == 1 else []
        image = heatmaps[0].image if len(heatmaps) == 1 else explanation_panel(explanation, cell=240)
        with atomic_file(path) as partial:
            image.save(partial)
    elif path.suffix:
        raise ValueError(f"{path} is neither a picture ({', '.join(SUFFIXES)}) nor a folder, which has no suffix.")
    else:
        with atomic_folder(path, TENSORS) as partial:
            _write_folder(explanation.cpu(), partial)


def _write_folder(explanation: Explanation, folder: Path) -> None:
    pictures = pictures_of(explanation)
    for row, name in enumerate(pictures.names):
        for one in drawn_heatmaps(explanation, row):
            stem = "_".join([f"{row:03d}", slug(Path(name).stem), str(one.number + 1), slug(one.label)])
            save_png(one.image, folder / f"{stem}.png")
    tensors = {
        name: getattr(explanation, name) for name in ("heatmaps", "scores", "valid", "prediction", "target", "logits")
    }
    save_file({name: value.contiguous().clone() for name, value in tensors.items()}, folder / TENSORS)
