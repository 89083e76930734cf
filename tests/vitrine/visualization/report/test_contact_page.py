"""The page of contact sheets: a section a class, and names that are typed in, kept and saved."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.pages import opened
from vitrine.explainers.names import read_names
from vitrine.visualization.report.contact_page import SheetEntry, contact_page

ENTRIES = [
    SheetEntry("loon", 1, "red eye", "loon/1.webp", (40, 30)),
    SheetEntry("loon", 3, None, None),
    SheetEntry("a & b", 1, "<b>", "ab/1.webp", (40, 30)),
]
NAMES = {"loon": ["red eye", "beak", ""], "a & b": ["<b>"], "not shown": ["", "wing"]}
NASTY = [
    "yes",
    "null",
    "- a: [b] # c",
    "'\"\\",
    "鳥 é 🐦",
    "tab\tand \u2028 \x85 \x7f",
    "1e3",
    "&x *y !z %d @e `f`",
    ": ",
    "",
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "index.html"
    path.write_text(contact_page("Names", ENTRIES, "run/names.yaml", NAMES), encoding="utf-8")
    return path


@pytest.fixture
def page(browser: Any, path: Path) -> Iterator[Any]:
    page = opened(browser, path)
    yield page
    page.close()


def test_a_section_a_class_and_a_figure_a_feature() -> None:
    text = contact_page("Names", ENTRIES, "run/names.yaml")
    assert text.count("<section>") == 2
    assert text.count("<figure>") == 3
    assert '<img src="loon/1.webp" width="40" height="30"' in text
    assert 'value="red eye"' in text
    assert "Contributes to no image" in text
    assert "<code>run/names.yaml</code>" in text


def test_text_is_escaped() -> None:
    text = contact_page("<Names>", ENTRIES, "a<b.yaml")
    assert "<h1>&lt;Names&gt;</h1>" in text
    assert "<h2>a &amp; b</h2>" in text
    assert 'value="&lt;b&gt;"' in text
    assert "a&lt;b.yaml" in text


def test_nothing_to_show() -> None:
    text = contact_page("Names", [], "names.yaml")
    assert "There are no x-features to show." in text
    assert "<form" not in text


def saved(page: Any, folder: Path) -> dict[str, list[str]]:
    with page.expect_download() as download:
        page.locator("button[type=submit]").click()
    assert download.value.suggested_filename == "names.yaml"
    download.value.save_as(folder / "names.yaml")
    return read_names(folder / "names.yaml", {name: len(names) for name, names in NAMES.items()})


def test_what_is_saved_has_all_names_also_those_that_are_not_shown(page: Any, tmp_path: Path) -> None:
    assert saved(page, tmp_path) == NAMES
    page.locator("input").nth(1).fill("  crest ")
    assert "1 name differs from the file" in page.inner_text("output")
    assert saved(page, tmp_path) == NAMES | {"loon": ["red eye", "beak", "crest"]}
    assert page.inner_text("output") == "Saved."


@pytest.mark.parametrize("name", NASTY)
def test_any_name_is_read_back(page: Any, tmp_path: Path, name: str) -> None:
    page.locator("input").nth(2).evaluate(
        "(input, name) => { input.value = name; input.dispatchEvent(new Event('input')); }", name
    )
    assert saved(page, tmp_path)["a & b"] == ([" ".join(name.split())] if name.split() else [""])


def test_typed_names_outlive_a_reload(page: Any) -> None:
    page.locator("input").nth(1).fill("crest")
    page.reload()
    assert page.locator("input").nth(1).input_value() == "crest"
    page.locator(".discard").click()
    page.reload()
    assert page.locator("input").nth(1).input_value() == ""
