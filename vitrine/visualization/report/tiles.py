"""Tiles of the gallery: the layers of an entry's heatmaps as picture files, and what the page's script reads of them."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from vitrine.core.explanation import Explanation
from vitrine.core.heatmap_texts import HeatmapTexts
from vitrine.visualization.layers import signed_layer, strength_layer
from vitrine.visualization.panel import explained_logit
from vitrine.visualization.report.entry import GalleryEntry
from vitrine.visualization.scale import shares

IMAGES = "images"
"""Folder of the pictures, beside the page."""


class TileDrawing:
    """Draws the layers of one method.

    Args:
        folder: of the page.
        start: what the names of the files begin with.
        texts: of the method.
        sigma: of the Gaussian for display.
    """

    def __init__(self, folder: Path, start: str, texts: HeatmapTexts, sigma: float | None) -> None:
        self.folder, self.start, self.texts, self.sigma = folder, start, texts, sigma

    def heatmaps(self, explanation: Explanation) -> list[dict[str, Any]]:
        """A tile for each valid heatmap, and one for their aggregate where there are several."""
        # Sums may overflow in half precision.
        explanation = replace(explanation, heatmaps=explanation.heatmaps.float())
        valid = explanation.valid_heatmaps(0)
        scores = [float(explanation.scores[0, k]) for k in valid]
        tiles = [
            {
                "label": explanation.labels[0][k],
                **({"layerKind": explanation.kinds[0][k]} if explanation.kinds else {}),
                **self._tile(str(k + 1), explanation.heatmaps[0, k], score, share),
            }
            for k, score, share in zip(
                valid, scores, shares(scores, "common" if self.texts.comparable else "own"), strict=True
            )
        ]
        if len(tiles) < 2:
            return tiles
        together = self._tile("all", explanation.aggregate()[0, 0], sum(scores))
        return [*tiles, {"label": "all together", "kind": "aggregate", **together}]

    def logit(self, entry: GalleryEntry, explanation: Explanation) -> list[dict[str, Any]]:
        """The tile of the explained logit, where the entry has its map."""
        if entry.logit_map is None:
            return []
        label, map_ = entry.logit_map
        return [{"label": label, "kind": "logit", **self._tile("logit", map_.float(), explained_logit(explanation, 0))}]

    def _tile(self, name: str, heatmap: Tensor, score: float, share: float = 1.0) -> dict[str, Any]:
        make = signed_layer if self.texts.signed else strength_layer
        layer = make(heatmap, sigma=self.sigma)
        facts: dict[str, Any] = {"score": score if math.isfinite(score) else None}
        if layer is not None:
            facts["layer"] = saved(self.folder, f"{self.start}-{name}", layer)
            if share != 1:
                facts["share"] = round(share, 4)
            if self.texts.signed:
                facts["signed"] = True
        return facts


def saved(folder: Path, name: str, image: Image.Image) -> str:
    """Saves an image and returns its URL relative to the page; colours of layers are kept exactly, as they tell the sign."""
    url = f"{IMAGES}/{name}.webp"
    if image.mode == "RGBA":
        image.save(folder / url, lossless=True, quality=50)
    else:
        image.save(folder / url, quality=85)
    return url
