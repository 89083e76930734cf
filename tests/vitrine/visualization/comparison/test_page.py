"""The page of a comparison: its sections, and that it loads nothing."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.helpers.tested_runs import write_run
from vitrine.visualization.comparison.comparison import Comparison, read_comparison
from vitrine.visualization.comparison.examples import common_examples
from vitrine.visualization.comparison.page import comparison_page
from vitrine.visualization.report.assets import asset

NODE = shutil.which("node")
PAGE_STAND_IN = """
const row = (name, value) => ({cells: [{dataset: {value: name}}, {dataset: {value}}]});
const body = {rows: [row("c", ""), row("a", "-1e-3"), row("b", "20")], append(...rows) { this.rows = rows; }};
const head = () => ({order: null, getAttribute() { return this.order; }, setAttribute(_, order) { this.order = order; },
  removeAttribute() { this.order = null; }});
const heads = [head(), head()];
const button = (column, first) => ({dataset: {column, first}, closest: () => heads[column],
  addEventListener(_, click) { this.click = click; }});
const buttons = [button(0, "text"), button(1, "descending")];
const table = {tBodies: [body], querySelectorAll: (query) => query.endsWith("button") ? buttons : heads};
globalThis.document = {querySelectorAll: () => [table]};
%s
for (const one of [1, 1, 0, 0]) {
  buttons[one].click();
  console.log(body.rows.map((row) => row.cells[0].dataset.value).join(","));
}
"""
VOID = {"meta", "img"}


class Tags(HTMLParser):
    """Checks that every tag is closed, and collects what the page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []
        self.pictures: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: "list[tuple[str, str | None]]") -> None:
        given = dict(attrs)
        self.loaded += [str(given[name]) for name in ("src", "href") if name in given]
        if tag == "img" or given.get("role") == "img":
            self.pictures.append(given)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: "list[tuple[str, str | None]]") -> None:
        """An element of SVG without content."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def text(comparison: Comparison) -> str:
    return comparison_page(comparison, "Three & more", common_examples(comparison.runs))


def test_the_page_is_whole_and_loads_nothing(text: str) -> None:
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert all(url.startswith("data:") for url in tags.loaded)
    assert not re.search(r"@import|url\((?!data:)", text)
    assert all(picture.get("alt") or picture.get("aria-label") for picture in tags.pictures)
    assert len(tags.pictures) == 12 + 3 * 12 + 1
    assert "<title>Three &amp; more</title>" in text


def test_sections_that_none_has_are_left_out(text: str, tmp_path: Path) -> None:
    assert re.findall(r"<h2>(.*?)</h2>", text) == ["Figures", "Curves", "Images", "Differences", "Settings"]
    folders = [write_run(tmp_path / name, name, figures={"iou": value}) for name, value in (("a", 1.0), ("b", 2.0))]
    page = comparison_page(read_comparison(folders), "Two", {})
    assert re.findall(r"<h2>(.*?)</h2>", page) == ["Figures", "Settings"]
    assert page.count("<li>") == 1  # neither has per-image values


def test_the_lead_says_what_intervals_are(text: str) -> None:
    assert "Measured on 40 images." in text
    assert "Intervals: 95 %, percentiles of 2000 bootstrap resamples" in text


@pytest.mark.skipif(NODE is None, reason="needs node, which runs the script")
def test_a_click_sorts_the_rows(tmp_path: Path) -> None:
    """The script in a stand-in of the page: the first click gives the order that the head names, the next the other."""
    (tmp_path / "script.js").write_text(PAGE_STAND_IN % asset("comparison.js"))
    done = subprocess.run([str(NODE), tmp_path / "script.js"], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["b,a,c", "a,b,c", "a,b,c", "c,b,a"]
