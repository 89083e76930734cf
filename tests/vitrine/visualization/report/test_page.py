"""The gallery's HTML around its cards: texts of methods, settings, metrics and the legend."""

import re

from vitrine.core.heatmap_texts import HeatmapTexts
from vitrine.visualization.report.page import page

SRAE = HeatmapTexts("Each heatmap shows an x-feature.", "contribution", "vᵢEᵢ")
LRP = HeatmapTexts("The heatmap shows relevance.", "probability", signed=True, percent=True)


def html(**changes: object) -> str:
    given = {"title": "A gallery", "metrics": {}, "settings": {}, "texts": {"": SRAE}, "cards": "cards.js", "count": 1}
    return page(**(given | changes))  # type: ignore[arg-type]


def test_texts_are_those_of_the_explainer() -> None:
    assert "Each heatmap shows an x-feature. The figure beside it is contribution, vᵢEᵢ." in html()
    assert "vᵢEᵢ" not in html(texts={"": LRP})
    both = html(texts={"SRAE": SRAE, "LRP": LRP})
    assert "<b>LRP:</b> The heatmap shows relevance. The figure beside it is probability." in both
    assert "What the heatmaps of the 2 methods show" in both


def test_each_kind_of_map_has_its_legend() -> None:
    assert html().count('class="scale"') == 1
    assert "<span>−1</span>" not in html()
    assert "<span>−1</span>" in html(texts={"": LRP})
    assert html(texts={"SRAE": SRAE, "LRP": LRP}).count('class="scale"') == 2
    assert "blurred for display" in html(blurred="blurred for display")
    assert "{{" not in html()


def test_settings_metrics_and_links() -> None:
    text = html(settings={"Seed": "<7>"}, metrics={"test/accuracy": 0.84371}, links={"table": "t.csv"})
    assert "<dt>Seed</dt><dd>&lt;7&gt;</dd>" in text
    assert "<b>0.8437</b> share of images, in their class" in text
    assert '<a href="t.csv">table</a>' in text
    assert "<summary>Settings" not in html()


def test_text_is_escaped() -> None:
    nasty = "</script><b>"
    text = html(title=nasty, settings={nasty: nasty}, texts={nasty: SRAE, "x": LRP}, metrics={nasty: 1.0})
    assert nasty not in text


def test_no_network_is_needed_and_scripts_are_told_to_be() -> None:
    text = html()
    assert not re.search(r"https?:|//cdn|@import|url\((?!#)", text)
    assert text.count("<noscript>") == 1
    assert "<noscript>" not in html(count=0)
