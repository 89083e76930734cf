"""The page of contact sheets: a section a class, and where a name is written down."""

from vitrine.visualization.report.contact_page import SheetEntry, contact_page

ENTRIES = [
    SheetEntry("loon", 1, "red eye", "loon/1.webp", (40, 30)),
    SheetEntry("loon", 2, None, None),
    SheetEntry("a & b", 1, "<b>", "ab/1.webp", (40, 30)),
]


def test_a_section_a_class_and_a_figure_a_feature() -> None:
    text = contact_page("Names", ENTRIES, "run/names.yaml")
    assert text.count("<section>") == 2
    assert text.count("<figure>") == 3
    assert '<img src="loon/1.webp" width="40" height="30"' in text
    assert "<b>x-feature 1</b><b>red eye</b>" in text


def test_a_feature_without_name_or_picture() -> None:
    text = contact_page("Names", ENTRIES, "run/names.yaml")
    assert "<b>x-feature 2</b><span>not named yet</span>" in text
    assert "Contributes to no image" in text


def test_it_says_where_a_name_belongs() -> None:
    text = contact_page("Names", ENTRIES, "run/names.yaml")
    assert "<code>run/names.yaml</code>, key <code>loon</code>,\nline 2 of its list." in text


def test_text_is_escaped() -> None:
    text = contact_page("<Names>", ENTRIES, "a<b.yaml")
    assert "<h1>&lt;Names&gt;</h1>" in text
    assert "<h2>a &amp; b</h2>" in text
    assert "<b>&lt;b&gt;</b>" in text
    assert "a&lt;b.yaml" in text


def test_nothing_to_show() -> None:
    assert "There are no x-features to show." in contact_page("Names", [], "names.yaml")
