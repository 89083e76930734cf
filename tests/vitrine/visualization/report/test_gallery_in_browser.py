"""The gallery in a browser: 10,000 images, filters, orders, keys, dark mode and a phone."""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.helpers.gallery_entries import entry, explanation
from tests.helpers.pages import cards_of, opened
from vitrine.core.heatmap_texts import HeatmapTexts
from vitrine.visualization.report import write_gallery

NAMES = ["loon", "tern", "<b>gull</b>"]
MANY = 10_000


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five images: two wrong, one of them surer than the other, and one whose label is unknown."""
    folder = tmp_path_factory.mktemp("few")
    Image.new("RGB", (1600, 1000), "#557799").save(folder / "large.png")
    methods = [("SRAE", explanation()), ("LRP", explanation(heatmaps=1))]
    unsure = replace(explanation(0), logits=explanation(0).logits / 4)
    entries = [
        replace(entry("a right"), explanation=methods, metrics={"iou": 0.5}),
        replace(entry("b wrong", label=1), original=folder / "large.png", region=(0.25, 0, 0.75, 1)),
        replace(entry("c wrong, unsure", label=1), explanation=unsure, metrics={"iou": 0.1}),
        entry("d unknown", label=None),
        entry("e right", label=2, prediction=2),
    ]
    texts = {"LRP": HeatmapTexts(signed=True, percent=True)}
    return write_gallery(folder / "r", entries, title="Few", metrics={"test/f_cls": 1}, class_names=NAMES, texts=texts)


@pytest.fixture(scope="module")
def many(few: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """10,000 images that share the pictures of the few."""
    folder = tmp_path_factory.mktemp("many")
    cards = cards_of(few.parent)
    written = [{**cards[n % 3], "key": f"set/{n:05d}.jpg", "labels": [f"class {n % 1000}"]} for n in range(MANY)]
    text = ",\n".join(map(json.dumps, written)).replace('"images/', f'"{few.parent.as_uri()}/images/')
    (folder / "cards.js").write_text(f"globalThis.galleryCards = [\n{text}\n];\n", encoding="utf-8")
    (folder / "index.html").write_bytes(few.read_bytes())
    return folder / "index.html"


@pytest.fixture
def page(browser: Any, few: Path) -> Iterator[Any]:
    page = opened(browser, few)
    page.locator(".more summary").click()
    yield page
    page.close()


def keys(page: Any) -> list[str]:
    return list(page.locator("article h3").all_inner_texts())


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (390, "dark")])
def test_ten_thousand_images_open_in_two_seconds(browser: Any, many: Path, width: int, scheme: str) -> None:
    start = time.monotonic()
    page = opened(browser, many, width, scheme)
    page.wait_for_selector("article .frame")
    assert time.monotonic() - start < 2
    assert page.evaluate("document.documentElement.scrollHeight") < 20_000
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.inner_text("output") == "10,000 images"
    page.fill("[name=search]", "00077")
    assert page.inner_text("output") == "1 of 10,000 images"
    page.fill("[name=search]", "")
    page.select_option("[name=class]", "class 77")
    assert page.inner_text("output") == "10 of 10,000 images"
    page.close()


def test_pages_turn_by_keys(browser: Any, many: Path) -> None:
    page = opened(browser, many)
    page.select_option("[name=sort]", "name")
    page.locator("h1").click()
    first = keys(page)
    page.keyboard.press("ArrowRight")
    assert page.inner_text(".pager span") == "Page 2 of 500"
    assert keys(page)[0] == "set/00020.jpg"
    page.keyboard.press("ArrowLeft")
    assert keys(page) == first
    page.locator(".pager button").last.click()
    assert keys(page)[-1] == "set/09999.jpg"
    page.keyboard.press("/")
    page.keyboard.type("09998")
    assert keys(page) == ["set/09998.jpg"]
    page.close()


def test_the_most_wrong_comes_first(page: Any) -> None:
    assert keys(page)[:2] == ["b wrong", "c wrong, unsure"]
    assert keys(page)[-1] == "d unknown"
    page.select_option("[name=sort]", "low iou")
    assert keys(page)[:2] == ["c wrong, unsure", "a right"]
    assert "iou" in page.locator("article").first.inner_text()
    page.select_option("[name=sort]", "unsure")
    assert keys(page)[0] == "c wrong, unsure"


def test_counts_follow_the_filters(page: Any) -> None:
    words = page.locator(".verdict span").all_inner_texts()
    assert words == ["All 5", "Right 2", "Wrong 2"]
    page.locator(".verdict label").nth(2).click()
    assert keys(page) == ["b wrong", "c wrong, unsure"]
    assert page.inner_text("output") == "2 of 5 images"
    page.fill("[name=search]", "unsure")
    assert page.locator(".verdict span").all_inner_texts() == ["All 1", "Right 0", "Wrong 1"]
    page.fill("[name=search]", "nothing like it")
    assert page.inner_text("main") == "No image matches."


def test_two_classes_stand_side_by_side(page: Any) -> None:
    page.select_option("[name=class]", "tern")
    page.select_option("[name=beside]", "<b>gull</b>")
    assert page.locator("main h2").all_inner_texts() == ["tern 2 images", "<b>gull</b> 1 image"]
    left, right = (page.locator("section").nth(place).bounding_box() for place in (0, 1))
    assert left["y"] == right["y"]
    assert left["x"] + left["width"] <= right["x"]


def test_scale_and_view_change_the_heatmaps(page: Any) -> None:
    page.select_option("[name=sort]", "name")
    heat = page.locator("article").nth(1).locator(".heat").nth(1)
    style = "element => getComputedStyle(element).filter"
    assert re.match(r'opacity\(0\.28\d*\) url\("#heat"\)', heat.evaluate(style))
    page.select_option("[name=scale]", "own")
    assert heat.evaluate(style) == 'opacity(1) url("#heat")'
    page.select_option("[name=view]", "contour")
    assert heat.evaluate(style).endswith('url("#contour")')


def test_scores_are_written_as_their_method_has_them(page: Any) -> None:
    page.select_option("[name=sort]", "name")
    text = page.locator("article").first.inner_text()
    assert all(part in text for part in ("SRAE", "LRP", "+12.31", "−3.50", "Σ +9.81", "1230.6 %"))


def test_a_picture_is_enlarged_to_its_own_size_under_its_heatmap(page: Any) -> None:
    page.locator("article").first.locator(".frame").nth(1).click()
    assert page.inner_text("#zoom-title") == "b wrong"
    page.locator("[data-fit]").click()
    photo, heat = (page.locator(f".layers {part}").bounding_box() for part in ("img:first-child", ".heat"))
    assert (photo["width"], photo["height"]) == (1600, 1000)
    assert (heat["width"], heat["height"]) == (800, 1000)
    assert heat["x"] - photo["x"] == 400
    page.locator("[data-fit]").click()
    assert page.locator(".layers").bounding_box()["width"] < 1200
    page.locator("[data-step='1']").click()
    assert page.inner_text("#zoom-title") == "c wrong, unsure"
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()


def test_keys_reach_pictures(page: Any) -> None:
    frame = page.locator("article .frame").first
    frame.focus()
    page.keyboard.press("Enter")
    assert page.locator("dialog").is_visible()
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#zoom-title") == "c wrong, unsure"


def test_thumbnails(page: Any) -> None:
    page.select_option("[name=layout]", "thumbnails")
    assert page.locator(".thumbnail").count() == 5
    assert page.locator(".thumbnail[data-verdict=wrong]").count() == 2


def test_the_first_picture_is_on_a_phones_first_screen(browser: Any, few: Path) -> None:
    page = opened(browser, few, 390)
    box = page.locator("article .frame img").first.bounding_box()
    assert box["y"] + box["height"] < 844
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()


def test_every_picture_loads_and_has_words(page: Any) -> None:
    page.wait_for_function("[...document.querySelectorAll('article img')].every((one) => one.complete)")
    broken = "[...document.images].filter((one) => !one.naturalWidth && one.closest('article')).length"
    assert page.evaluate(broken) == 0
    unnamed = "[...document.querySelectorAll('button')].filter((one) => !(one.ariaLabel || one.innerText)).length"
    assert page.evaluate(unnamed) == 0


def test_text_is_no_markup(page: Any) -> None:
    assert page.locator("main b:text-is('gull')").count() == 0
    assert "<b>gull</b>" in page.inner_text("main")


def test_where_no_label_is_known_nothing_is_wrong(browser: Any, tmp_path: Path) -> None:
    path = write_gallery(tmp_path / "r", [entry("k", None)], title="t", metrics={}, class_names=NAMES)
    page = opened(browser, path)
    assert not page.locator(".verdict").is_visible()
    assert page.locator(".badge").count() == 0
    assert page.locator("[name=sort] option[value=wrong]").count() == 0
    page.close()


def test_a_single_heatmap_has_a_scale_of_its_own(browser: Any, tmp_path: Path) -> None:
    path = write_gallery(tmp_path / "r", [entry("k", heatmaps=1)], title="t", metrics={}, class_names=NAMES)
    page = opened(browser, path)
    assert page.locator(".hint:visible").all_inner_texts()[0].startswith("1 is the strongest place of each heatmap")
    page.locator(".more summary").click()
    assert not page.locator("[name=scale]").is_visible()
    page.close()


def test_a_page_without_scripts_says_so(browser: Any, few: Path) -> None:
    page = opened(browser, few, java_script_enabled=False)
    assert "This page needs JavaScript" in page.inner_text("body")
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_shown_has_contrast(browser: Any, few: Path, scheme: str) -> None:
    """Computed colours of the text that is on the page over its nearest ground."""
    page = opened(browser, few, scheme=scheme)
    worst = page.evaluate("""() => {
      const parse = (text) => text.match(/[\\d.]+/g).map(Number);
      const light = ([r, g, b]) => [r, g, b].map((v) => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
      const ground = (one) => { for (; one; one = one.parentElement) {
        const colour = parse(getComputedStyle(one).backgroundColor); if (colour.length < 4 || colour[3] > .6) return colour; }
        return [255, 255, 255]; };
      const texts = [...document.querySelectorAll("body *")].filter((one) => one.offsetParent && !one.disabled
        && [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
      return Math.min(...texts.map((one) => { const [low, high] = [light(parse(getComputedStyle(one).color)),
        light(ground(one))].sort((a, b) => a - b); return (high + .05) / (low + .05); }));
    }""")
    assert worst >= 4.5
    page.close()
