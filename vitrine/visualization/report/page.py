"""HTML of the gallery around its cards, which a script draws; all text is escaped."""

from collections.abc import Mapping
from dataclasses import asdict
from html import escape

from vitrine.core.heatmap_texts import HeatmapTexts
from vitrine.visualization.report.assets import asset
from vitrine.visualization.report.document import document, script_json
from vitrine.visualization.report.filters import bar, filters
from vitrine.visualization.report.metric_tiles import metric_tiles
from vitrine.visualization.scale import COMMON_NOTE, OWN_NOTE

SCRIPTS = ("gallery_cards.js", "gallery_list.js", "gallery_zoom.js", "gallery.js")
LEAD = """Point at a picture, or tab to it, to see it without its heatmap; open it to see it enlarged."""


def page(
    *,
    title: str,
    metrics: Mapping[str, float],
    settings: Mapping[str, str],
    texts: Mapping[str, HeatmapTexts],
    cards: str,
    count: int,
    blurred: str = "",
    links: Mapping[str, str] | None = None,
) -> str:
    """The page.

    Args:
        title: its heading.
        metrics: see `metric_tables`.
        settings: what the images, the backbone and the explainer are.
        texts: of each method; a method without a name is the only one.
        cards: URL of the script that holds the cards.
        count: of the cards.
        links: URLs by their text, below the heading.
        blurred: how heatmaps are blurred for display; empty where they are not.
    """
    body = f"""<header>
<h1>{escape(title)}</h1>
{_about(texts)}
{_links(links or {})}
{_folded("Settings", _settings(settings), "settings")}
{_folded("Metrics", metric_tiles(metrics), "metrics")}
</header>
{_controls(texts, blurred) if count else ""}
<main>{"" if count else "<p>The gallery is empty.</p>"}</main>
{asset("gallery_zoom.html") if count else ""}
{filters()}
<script type="application/json" id="texts">{script_json({name: asdict(one) for name, one in texts.items()})}</script>
<script src="{escape(cards)}"></script>"""
    return document(title, body, styles=("gallery.css", "zoom.css"), scripts=SCRIPTS if count else ())


def _about(texts: Mapping[str, HeatmapTexts]) -> str:
    if len(texts) == 1:
        return f'<p class="lead">{_sentences(next(iter(texts.values())))} {LEAD}</p>'
    rows = "".join(f"<li><b>{escape(name)}:</b> {_sentences(one)}</li>" for name, one in texts.items())
    return f'<p class="lead">{LEAD}</p>' + _folded(
        f"What the heatmaps of the {len(texts)} methods show", f"<ul>{rows}</ul>"
    )


def _sentences(texts: HeatmapTexts) -> str:
    signs = " Orange speaks for the class, blue against it." if texts.signed else ""
    return escape(f"{texts.heatmap} The figure beside it is {texts.figure}.{signs}")


def _links(links: Mapping[str, str]) -> str:
    anchors = " · ".join(f'<a href="{escape(url)}">{escape(text)}</a>' for text, url in links.items())
    return f"<p>{anchors}</p>" if anchors else ""


def _folded(summary: str, body: str, kind: str = "methods") -> str:
    return f'<details class="about {kind}"><summary>{escape(summary)}</summary>{body}</details>' if body else ""


def _settings(settings: Mapping[str, str]) -> str:
    rows = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in settings.items())
    return f"<dl>{rows}</dl>" if rows else ""


def _controls(texts: Mapping[str, HeatmapTexts], blurred: str) -> str:
    signs = sorted({one.signed for one in texts.values()})
    text = asset("gallery_controls.html")
    for name, value in (
        ("legends", "".join(_legend(signed=signed) for signed in signs)),
        ("common", escape(COMMON_NOTE)),
        ("own", escape(OWN_NOTE)),
        ("blur", escape(f"; {blurred}" if blurred else "")),
    ):
        text = text.replace(f"{{{{{name}}}}}", value)
    return text


def _legend(*, signed: bool) -> str:
    marks = "".join(f"<span>{mark}</span>" for mark in (("−1", "0", "+1") if signed else ("0", "0.5", "1")))
    name = "Evidence against and for the class" if signed else "Evidence"
    return f"""<figure class="scale"><figcaption>{name}</figcaption>
<div class="bar" style="background-image:{bar(signed=signed)}"></div><div class="marks">{marks}</div></figure>"""
