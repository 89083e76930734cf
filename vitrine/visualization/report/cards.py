"""Cards of the gallery: the pictures of an entry, and what the page's script reads of it."""

import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vitrine.core.explanation import Explanation, class_name
from vitrine.core.heatmap_texts import HeatmapTexts
from vitrine.core.picture_files import open_picture
from vitrine.data.orientation import upright
from vitrine.visualization.overlays import picture
from vitrine.visualization.panel import probability_of
from vitrine.visualization.report.entry import WHOLE, GalleryEntry
from vitrine.visualization.report.tiles import TileDrawing, saved

SHOWN_BY_BROWSERS = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif"}
ORIGINALS = "originals"
Texts = Callable[[str], HeatmapTexts]
"""The texts of a method by its name."""


def card(
    folder: Path, number: str, entry: GalleryEntry, class_names: Sequence[str], texts: Texts, sigma: float | None
) -> dict[str, Any]:
    """Writes an entry's pictures into the folder of the page, and returns what the script reads of it.

    Args:
        folder: of the page.
        number: of the entry, with which the names of its pictures begin.
        entry: the image.
        class_names: names of the first classes, of all or fewer.
        texts: by method.
        sigma: of the Gaussian for display, in pixels of the image; 2 % of the longer side without it.
    """
    _, first = entry.groups[0]
    photo = picture(entry.image)
    facts = {
        "key": entry.key,
        "labels": [class_name(class_names, label) for label in entry.labels],
        "photo": saved(folder, number, photo),
        "size": photo.size,
        **_prediction(entry, first, class_names),
        **_optional(folder, number, entry),
    }
    groups = []
    for place, (name, explanation) in enumerate(entry.groups):
        start = number if place == 0 else f"{number}-{chr(ord('a') + place % 26)}{place // 26 or ''}"
        draw = TileDrawing(folder, start, texts(name), sigma)
        tiles = [*(draw.logit(entry, first) if place == 0 else ()), *draw.heatmaps(explanation)]
        groups.append({"method": name, "tiles": tiles})
    return {**facts, "groups": groups}


def _prediction(entry: GalleryEntry, explanation: Explanation, class_names: Sequence[str]) -> dict[str, Any]:
    prediction, target = int(explanation.prediction[0]), int(explanation.target[0])
    facts: dict[str, Any] = {
        "prediction": class_name(class_names, prediction),
        "probability": probability_fact(probability_of(explanation, 0)),
    }
    if target != prediction:
        facts["explained"] = class_name(class_names, target)
    if entry.labels:
        facts["right"] = prediction in entry.labels
        known = [label for label in entry.labels if label < explanation.logits.shape[1]]
        chances = [float(explanation.probabilities()[0, label]) for label in known]
        facts["true"] = probability_fact(max(chances, default=0.0))
    return facts


def probability_fact(value: float) -> float | None:
    """A probability as the page's script reads it; None where it is not finite."""
    return round(value, 6) if math.isfinite(value) else None


def _optional(folder: Path, number: str, entry: GalleryEntry) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    if entry.metrics:
        facts["metrics"] = {name: value if math.isfinite(value) else None for name, value in entry.metrics.items()}
    if entry.original is not None:
        facts["original"] = _copied(folder, number, entry.original)
        facts["region"] = entry.region if entry.region != WHOLE else None
    if entry.overlay is not None:
        facts["links"] = {"overlay file": entry.overlay}
    return {name: value for name, value in facts.items() if value is not None}


def _copied(folder: Path, number: str, original: Path) -> str:
    """Copies a picture, as one that browsers show, and returns its URL.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where it cannot be read as a picture.
    """
    suffix = original.suffix.lower()
    (folder / ORIGINALS).mkdir(exist_ok=True)
    if suffix in SHOWN_BY_BROWSERS:
        shutil.copyfile(original, folder / ORIGINALS / f"{number}{suffix}")
        return f"{ORIGINALS}/{number}{suffix}"
    with open_picture(original) as opened:
        upright(opened).convert("RGB").save(folder / ORIGINALS / f"{number}.webp", quality=95)
    return f"{ORIGINALS}/{number}.webp"
