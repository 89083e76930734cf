"""HTML of an explanation for notebooks: pictures as data URIs beside the most probable classes."""

from html import escape
from itertools import islice

from PIL import Image

from vitrine.core.explanation import Explanation, class_name
from vitrine.visualization.explanation_pictures import drawn_heatmaps, pictures_of
from vitrine.visualization.overlays import data_url, resized

MOST_IMAGES, MOST_HEATMAPS, MOST_CLASSES = 8, 6, 3
SIDE = 220
"""Longer side of each picture in pixels."""
_ROW = "display:flex;flex-wrap:wrap;gap:12px;align-items:flex-start;margin:0 0 14px"
_FIGURE = f"margin:0;width:{SIDE}px;font:12px/1.4 system-ui,sans-serif"
_IMAGE = "width:100%;height:auto;display:block;border-radius:4px"


def explanation_html(explanation: Explanation) -> str:
    """The first images of an explanation with their overlays and predictions; nothing else has to be there to show it."""
    explanation = explanation.cpu()
    count = len(explanation)
    rows = "".join(f'<div style="{_ROW}">{_row(explanation, row)}</div>' for row in range(min(count, MOST_IMAGES)))
    more = f"<p>and {count - MOST_IMAGES} more images</p>" if count > MOST_IMAGES else ""
    return f"<div>{rows}{more}</div>"


def _row(explanation: Explanation, row: int) -> str:
    pictures = pictures_of(explanation)
    explained = class_name(pictures.classes, int(explanation.target[row]))
    figures = [_figure(pictures.images[row], escape(pictures.names[row]), _predictions(explanation, row))]
    figures += [
        _figure(one.image, escape(one.label), f"{escape(one.score)}, explains {escape(explained)}")
        for one in islice(drawn_heatmaps(explanation, row), MOST_HEATMAPS)
    ]
    return "".join(figures)


def _predictions(explanation: Explanation, row: int) -> str:
    chances = explanation.probabilities()[row]
    best = chances.topk(min(MOST_CLASSES, len(chances)))
    classes = pictures_of(explanation).classes
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return "<br>".join(f"{100 * chance:.1f} % {escape(class_name(classes, index))}" for index, chance in pairs)


def _figure(image: Image.Image, title: str, text: str) -> str:
    caption = f"<figcaption><b>{title}</b><br>{text}</figcaption>"
    source = data_url(resized(image, min(SIDE, max(image.size))))
    return f'<figure style="{_FIGURE}"><img alt="{title}" style="{_IMAGE}" src="{source}">{caption}</figure>'
