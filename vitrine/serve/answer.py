"""What the page answers: heatmaps of one picture by several methods side by side, and the prediction as a table."""

import base64
import io
import threading
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from vitrine.core.explanation import Explanation, class_name
from vitrine.explain.network import ExplainedNetwork
from vitrine.serve.served import ServedNetwork
from vitrine.visualization.explanation_pictures import drawn_heatmaps
from vitrine.visualization.legend import colour_bar
from vitrine.visualization.overlays import data_url, resized

SIDE, MOST_CLASSES = 720, 5
_one_at_a_time = threading.Lock()


class Answer(NamedTuple):
    """HTML for the two parts of the page."""

    heatmaps: str
    predictions: str


def answer(served: ServedNetwork, picture: Path, methods: Sequence[str], target: int | None) -> Answer:
    """Explains a picture by each method.

    Args:
        served: the network.
        picture: an uploaded file that was checked.
        methods: names among those that are served.
        target: the explained class; the predicted one without it.

    Raises:
        ValueError: for a picture that cannot be decoded, without methods, and where none of them works.
    """
    if not methods:
        raise ValueError("No method is chosen; choose at least one.")
    with _one_at_a_time:
        explained = {name: _explained(served, name, picture, target) for name in methods}
    found = [one for one in explained.values() if isinstance(one, Explanation)]
    if not found:
        raise ValueError(next(str(one) for one in explained.values()))
    cards = [_card(_original(found[0]), "the picture", _size(found[0]))]
    for name, one in explained.items():
        cards += _cards(name, one) if isinstance(one, Explanation) else [_refusal(name, str(one))]
    heatmaps = f'<div class="v-maps">{"".join(cards)}</div>{_legend(found)}'
    return Answer(heatmaps, predictions_table(found[0], served.network))


def _explained(served: ServedNetwork, name: str, picture: Path, target: int | None) -> Explanation | ValueError:
    """The explanation, or why the method gives none; what is wrong with the picture is everyone's error."""
    try:
        explainer = served.explainer(name)
    except ValueError as error:
        return error
    try:
        return explainer.explain(picture, target)
    except (ValueError, RuntimeError) as error:
        text = str(error).replace(str(picture), picture.name)
        return ValueError(text)


def _cards(name: str, explanation: Explanation) -> list[str]:
    drawn = list(drawn_heatmaps(explanation, 0))
    alone = len(drawn) == 1
    return [
        _card(one.image, name if alone else f"{name}: {one.label}", _explains(explanation, one.score)) for one in drawn
    ]


def _explains(explanation: Explanation, score: str) -> str:
    classes = explanation.pictures.classes if explanation.pictures else ()
    return f"{class_name(classes, int(explanation.target[0]))}, {score}"


def _card(image: Image.Image, title: str, text: str) -> str:
    caption = f"<figcaption><b>{escape(title)}</b><span>{escape(text)}</span></figcaption>"
    source = data_url(resized(image, min(SIDE, max(image.size))))
    return f'<figure><img alt="{escape(title)}" src="{source}">{caption}</figure>'


def _refusal(name: str, sentence: str) -> str:
    return f'<figure class="v-refused"><figcaption><b>{escape(name)}</b><span>{escape(sentence)}</span></figcaption></figure>'


def _original(explanation: Explanation) -> Image.Image:
    if explanation.pictures is None:
        raise ValueError("The explanation has no picture.")
    return explanation.pictures.images[0]


def _size(explanation: Explanation) -> str:
    width, height = _original(explanation).size
    return f"{width} x {height} pixels"


def _legend(found: Sequence[Explanation]) -> str:
    """The colours of maps of one sign and of both, as far as they are shown."""
    kinds = {bool(one.pictures and one.pictures.texts.signed) for one in found}
    bars = " ".join(f"{'−1' if signed else '0'} {_bar(signed=signed)} 1" for signed in sorted(kinds))
    return f'<p class="v-legend">{bars}: strongest place of each heatmap; slightly blurred for display</p>'


def _bar(*, signed: bool) -> str:
    buffer = io.BytesIO()
    colour_bar(signed=signed).save(buffer, "PNG")
    return f'<img alt="colour bar" src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}">'


def predictions_table(explanation: Explanation, network: ExplainedNetwork) -> str:
    """The most probable classes, and the explained one where it is none of them."""
    chances, names, target = explanation.probabilities()[0], network.classes.names(), int(explanation.target[0])
    shown = chances.topk(min(MOST_CLASSES, len(chances))).indices.tolist()
    shown += [] if target in shown else [target]
    rows = "".join(
        f"<tr{' class=v-target' if index == target else ''}><th>{escape(names[index])}</th>"
        f"<td><i style='width:{100 * float(chances[index]):.1f}%'></i></td><td>{100 * float(chances[index]):.1f} %</td></tr>"
        for index in shown
    )
    return f'<table class="v-predictions"><caption>Prediction</caption>{rows}</table>'
