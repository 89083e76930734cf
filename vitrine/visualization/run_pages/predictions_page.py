"""HTML page of predictions: their overlays, which can be searched and sorted, and links to the table and the raw maps."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vitrine.core.heatmap_texts import HeatmapTexts
from vitrine.visualization.report.gallery import CARDS, write_cards
from vitrine.visualization.report.page import page
from vitrine.visualization.scale import blur_note

PAGE = "index.html"


def write_predictions_page(
    folder: Path, cards: Iterable[Mapping[str, Any]], *, title: str, texts: HeatmapTexts, table: str
) -> None:
    """Writes ``index.html`` and its data into a folder of overlays.

    Args:
        folder: of the predictions.
        cards: what the gallery's script reads of each image, whose tiles are drawn overlays.
        title: heading of the page.
        texts: of the explainer.
        table: name of the table of all predictions, beside the page.
    """
    seen = write_cards(folder / CARDS, cards)
    links = {table: table}
    text = page(
        title=title,
        metrics={},
        settings={},
        texts={"": texts},
        cards=CARDS,
        count=seen.images,
        blurred=blur_note(None),
        links=links,
    )
    (folder / PAGE).write_text(text, encoding="utf-8")
