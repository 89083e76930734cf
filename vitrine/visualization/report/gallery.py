"""HTML gallery: writes ``index.html`` and its pictures."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from vitrine.core.atomic_io import atomic_folder
from vitrine.core.explanation import Explanation, class_name
from vitrine.core.folder_manifest import FolderKind
from vitrine.visualization.overlays import heat_layer, picture
from vitrine.visualization.panel import explained_logit, layer_colour, probability_of
from vitrine.visualization.report.page import Card, Tile, page

GALLERY = FolderKind(
    "index.html",
    earlier=("index.html", "images/[0-9][0-9][0-9][0-9]*.webp"),
    signature="Each heatmap shows where one feature finds its evidence.",
)


@dataclass(frozen=True)
class GalleryEntry:
    """One image of the gallery."""

    key: str
    """The sample's name, unique in the gallery."""
    image: Tensor
    """(3, H, W) float in [0, 1]."""
    labels: tuple[int, ...]
    """The true classes: one, several in a multi-label set, or none where they are unknown."""
    explanation: Explanation
    """Explanation of this image alone, B = 1."""
    logit_map: tuple[str, Tensor] | None = None
    """Label and (H, W) map of the explained logit, shown beside the heatmaps."""


def write_gallery(
    folder: Path,
    entries: Sequence[GalleryEntry],
    *,
    title: str,
    metrics: Mapping[str, float],
    class_names: Sequence[str],
    settings: Mapping[str, str] | None = None,
    sigma: float | None = None,
) -> Path:
    """Writes a static page with its pictures and returns the path of its ``index.html``.

    The page loads nothing from the network. Heatmaps are transparent layers over their image with adjustable opacity.

    Args:
        folder: of the gallery; an earlier gallery is replaced atomically, and other files in it are kept.
        entries: the images, which the page sorts by first label and key.
        title: heading of the page.
        metrics: values of the table at the top.
        class_names: names of the first classes, of all or fewer.
        settings: further information, such as the explainer and its data, shown beside the metrics.
        sigma: of the Gaussian for display, in pixels of the images; 2 % of the longer side without it.

    Raises:
        ValueError: where an entry holds more or less than one image.
        FileExistsError: where ``folder`` is not of a gallery, or a file of the gallery was changed since.
    """
    ordered = sorted(entries, key=lambda entry: (not entry.labels, entry.labels[:1], entry.key))
    with atomic_folder(folder, GALLERY) as staging:
        (staging / "images").mkdir()
        names = [f"{number:04d}" for number in range(1, len(ordered) + 1)]
        # Pillow compresses without the interpreter lock, so as many cards are drawn at once as torch may use cores.
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            cards = list(pool.map(lambda name, entry: _card(staging, name, entry, class_names, sigma), names, ordered))
        html = page(title=title, metrics=metrics, settings=settings or {}, cards=cards)
        (staging / "index.html").write_text(html, encoding="utf-8")
    return folder / "index.html"


def _card(folder: Path, name: str, entry: GalleryEntry, class_names: Sequence[str], sigma: float | None) -> Card:
    # Sums may overflow in half precision.
    explanation = replace(entry.explanation, heatmaps=entry.explanation.heatmaps.float())
    if len(explanation) != 1:
        raise ValueError(f"entry {entry.key!r} must hold the explanation of one image, got {len(explanation)}")
    prediction = int(explanation.prediction[0])
    photo = picture(entry.image)
    return Card(
        key=entry.key,
        labels=[class_name(class_names, label) for label in entry.labels],
        prediction=class_name(class_names, prediction),
        explained=class_name(class_names, int(explanation.target[0])),
        probability=probability_of(explanation, 0),
        right=prediction in entry.labels if entry.labels else None,
        photo=_save(folder, name, photo),
        size=photo.size,
        tiles=[
            *_logit_tiles(folder, name, entry.logit_map, explained_logit(explanation, 0), sigma),
            *_tiles(folder, name, explanation, sigma),
        ],
    )


def _tiles(folder: Path, name: str, explanation: Explanation, sigma: float | None) -> list[Tile]:
    """A tile for each valid heatmap, and one for their aggregate where there are several."""
    tiles = [
        Tile(
            explanation.labels[0][k],
            float(explanation.scores[0, k]),
            _layer(folder, f"{name}-{k + 1}", explanation.heatmaps[0, k], sigma),
            colour=layer_colour(explanation, 0, k),
        )
        for k in explanation.valid_heatmaps(0)
    ]
    if len(tiles) < 2:
        return tiles
    aggregate = _layer(folder, f"{name}-all", explanation.aggregate()[0, 0], sigma)
    return [*tiles, Tile("all together", sum(tile.score for tile in tiles), aggregate, kind="aggregate")]


def _logit_tiles(
    folder: Path, name: str, logit_map: tuple[str, Tensor] | None, logit: float, sigma: float | None
) -> list[Tile]:
    if logit_map is None:
        return []
    label, map_ = logit_map
    return [Tile(label, logit, _layer(folder, f"{name}-logit", map_.float(), sigma), kind="logit")]


def _layer(folder: Path, name: str, heatmap: Tensor, sigma: float | None) -> str | None:
    layer = heat_layer(heatmap, sigma=sigma)
    return None if layer is None else _save(folder, name, layer)


def _save(folder: Path, name: str, image: Image.Image) -> str:
    """Saves an image and returns its URL relative to the page."""
    url = f"images/{name}.webp"
    image.save(folder / url, quality=85)
    return url
