"""HTML of the gallery; all text is escaped."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from typing import Literal

from vitrine.visualization.overlays import NO_EVIDENCE
from vitrine.visualization.report.assets import SCRIPT, STYLE

LOGIT_LEAD = """ The map in the dashed frame explains that logit ŷ as a whole; it is no feature, and stands there for
comparison."""


@dataclass(frozen=True)
class Tile:
    """One heatmap over its image."""

    label: str
    score: float
    layer: str | None
    """URL of the transparent layer; None without positive evidence."""
    kind: Literal["heatmap", "aggregate", "logit"] = "heatmap"
    """One of the heatmaps, their aggregate, or the map of the explained logit, whose score is that logit."""
    colour: str | None = None
    """Colour of the label, for a heatmap of a layer of a known kind."""


@dataclass(frozen=True)
class Card:
    """One image with its prediction and its heatmaps."""

    key: str
    labels: Sequence[str]
    prediction: str
    explained: str
    probability: float
    right: bool | None
    photo: str
    size: tuple[int, int]
    tiles: Sequence[Tile]

    @property
    def classes(self) -> Sequence[str]:
        """Classes by which the card is filtered; it is listed under the first."""
        return self.labels or ("unlabelled",)


def page(*, title: str, metrics: Mapping[str, float], settings: Mapping[str, str], cards: Sequence[Card]) -> str:
    """The page; cards of one class must be consecutive."""
    groups = [(name, list(members)) for name, members in groupby(cards, key=lambda card: card.classes[0])]
    sections = "\n".join(_section(name, members) for name, members in groups) or "<p>The gallery is empty.</p>"
    beside = any(tile.kind == "logit" for card in cards for tile in card.tiles)
    return document(
        title,
        f"""<header>
<h1>{escape(title)}</h1>
<p class="lead">Each heatmap shows where one feature finds its evidence. The figure above it is its contribution
v<sub>i</sub>E<sub>i</sub> to the logit of the explained class.{LOGIT_LEAD if beside else ""} Point at a picture, or tab to
it, to see it without its heatmap.</p>
{_tables(metrics, settings)}
</header>
{_controls(list(dict.fromkeys(label for card in cards for label in card.classes)), len(cards)) if cards else ""}
<main>
{sections}
</main>
<script>{SCRIPT}</script>""",
    )


def document(title: str, body: str) -> str:
    """A page with a body, in the gallery's style; it needs no other files than its pictures."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
{body}
</body>
</html>
"""


def _tables(metrics: Mapping[str, float], settings: Mapping[str, str]) -> str:
    figures = {name: _figure(value) for name, value in metrics.items()}
    return f'<div class="tables">{_table("Metrics", figures, "figures")}{_table("Settings", settings, "words")}</div>'


def _table(caption: str, rows: Mapping[str, str], kind: str) -> str:
    if not rows:
        return ""
    body = "".join(f'<tr><th scope="row">{escape(k)}</th><td>{escape(v)}</td></tr>' for k, v in rows.items())
    return f'<table class="{kind}"><caption>{escape(caption)}</caption><tbody>{body}</tbody></table>'


def _figure(value: float) -> str:
    if not math.isfinite(value):
        return str(value).replace("-", "−")
    return f"{value:.4g}".replace("-", "−")


def _controls(classes: Sequence[str], count: int) -> str:
    options = "".join(f'<option value="{escape(name)}">{escape(name)}</option>' for name in classes)
    radios = "".join(
        f'<label><input type="radio" name="verdict" value="{value}"{checked}><span>{name}</span></label>'
        for value, name, checked in (("", "All", " checked"), ("right", "Right", ""), ("wrong", "Wrong", ""))
    )
    return f"""<form class="controls" hidden>
<label>Class <select name="class"><option value="">All classes</option>{options}</select></label>
<fieldset><legend>Prediction</legend>{radios}</fieldset>
<label>Heatmaps <input type="range" name="heat" min="0" max="100" value="80" aria-label="Opacity"></label>
<output aria-live="polite">{_counted(count)}</output>
</form>"""


def _counted(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


def _section(name: str, cards: Sequence[Card]) -> str:
    body = "\n".join(_card(card) for card in cards)
    return f"""<section>
<h2>{escape(name)} <small>{_counted(len(cards))}</small></h2>
{body}
</section>"""


def _card(card: Card) -> str:
    verdict = {True: "right", False: "wrong", None: "unknown"}[card.right]
    largest = max((abs(tile.score) for tile in card.tiles if tile.kind == "heatmap"), default=0.0)
    tiles = "\n".join(_tile(card, tile, largest) for tile in card.tiles)
    return f"""<article data-verdict="{verdict}" data-classes="{escape(json.dumps(list(card.classes)))}">
<div class="metadata">
{_facts(card, verdict)}
</div>
<div class="tiles">
<figure class="photo"><figcaption><b>image</b><span class="score">&nbsp;</span></figcaption>
<div class="frame"><img src="{card.photo}" {_dimensions(card)} alt="{escape(_photo_alt(card))}" loading="lazy"></div>
</figure>
{tiles}
</div>
</article>"""


def _facts(card: Card, verdict: str) -> str:
    badge = {"right": '<span class="badge right">✓ right</span>', "wrong": '<span class="badge wrong">✗ wrong</span>'}
    label = ", ".join(card.labels) or "unknown"
    other = card.explained != card.prediction
    explained = f"<div><dt>Explained</dt><dd>{escape(card.explained)}</dd></div>" if other else ""
    prediction = f'{escape(card.prediction)} <span class="probability">{100 * card.probability:.1f} %</span>'
    return f"""<h3>{escape(card.key)}</h3>{badge.get(verdict, "")}
<dl><div><dt>Label</dt><dd>{escape(label)}</dd></div>
<div><dt>Prediction</dt><dd>{prediction}</dd></div>{explained}</dl>"""


def _photo_alt(card: Card) -> str:
    return f"{card.key}, predicted as {card.prediction}"


def _tile(card: Card, tile: Tile, largest: float) -> str:
    share = min(100.0, 100 * abs(tile.score) / largest) if math.isfinite(tile.score) and largest > 0 else 0.0
    sign = "negative" if tile.score < 0 else "positive"
    is_heatmap = tile.kind == "heatmap"
    bar = f'<i class="bar {sign}" style="width:{share:.0f}%"></i>' if is_heatmap else ""
    kind = "" if is_heatmap else f' class="{tile.kind}"'
    colour = f' style="color:{tile.colour}"' if tile.colour else ""
    return f"""<figure{kind}><figcaption><b{colour} title="{escape(tile.label)}">{escape(tile.label)}</b>
<span class="score">{_contribution(tile)}</span></figcaption>
<div class="frame" tabindex="0"><img src="{card.photo}" {_dimensions(card)} alt="" loading="lazy">
{_layer(card, tile)}</div>
{bar}</figure>"""


def _contribution(tile: Tile) -> str:
    before = {"heatmap": "", "aggregate": "Σ ", "logit": "ŷ "}[tile.kind]
    return before + f"{tile.score:+.2f}".replace("-", "−")


def _layer(card: Card, tile: Tile) -> str:
    if tile.layer is None:
        return f'<span class="note">{NO_EVIDENCE}</span>'
    figure = "logit" if tile.kind == "logit" else "contribution"
    alt = f"Heatmap of {tile.label} on {card.key}, {figure} {tile.score:+.2f}"
    return f'<img class="heat" src="{tile.layer}" {_dimensions(card)} alt="{escape(alt)}" loading="lazy">'


def _dimensions(card: Card) -> str:
    return f'width="{card.size[0]}" height="{card.size[1]}"'
