"""The gallery's HTML: sections by class, figures of contributions, and text that is escaped."""

from dataclasses import replace

from vitrine.visualization.report.page import Card, Tile, document, page

CARD = Card(
    key="a/1",
    labels=("loon",),
    prediction="loon",
    explained="loon",
    probability=0.875,
    right=True,
    photo="photo.webp",
    size=(14, 10),
    tiles=(
        Tile("x-feature 1", 2.0, "heat.webp"),
        Tile("x-feature 2", -0.5, "heat2.webp"),
        Tile("x-feature 3", 0.0, None),
    ),
)


def html(*cards: Card, title: str = "A gallery") -> str:
    return page(title=title, metrics={"accuracy": 0.84371, "o2": float("-inf")}, settings={"layer": "f"}, cards=cards)


def test_a_card_says_what_was_predicted_and_why() -> None:
    text = html(CARD)
    for part in ("<h3>a/1</h3>", "✓ right", "87.5 %", "+2.00", "−0.50", 'src="heat.webp" width="14" height="10"'):
        assert part in text
    assert "<dt>Explained</dt>" not in text
    assert "<dt>Explained</dt><dd>tern</dd>" in html(replace(CARD, explained="tern", right=False))


def test_bars_are_shares_of_the_largest_contribution() -> None:
    text = html(CARD)
    assert 'class="bar positive" style="width:100%"' in text
    assert 'class="bar negative" style="width:25%"' in text
    assert 'class="bar positive" style="width:0%"' in text


def test_sections_are_by_the_first_label_and_unlabelled_cards_have_theirs() -> None:
    text = html(CARD, replace(CARD, key="b"), replace(CARD, key="c", labels=(), right=None))
    assert "<h2>loon <small>2 images</small></h2>" in text
    assert "<h2>unlabelled <small>1 image</small></h2>" in text
    assert 'data-verdict="unknown"' in text


def test_the_logits_own_map_is_told_apart() -> None:
    logit = Tile("logit", 3.5, "logit.webp", kind="logit")
    assert "dashed frame" not in html(CARD)
    text = html(replace(CARD, tiles=(*CARD.tiles, logit)))
    assert "dashed frame" in text
    assert "ŷ +3.50" in text
    assert "Σ +1.50" in html(replace(CARD, tiles=(*CARD.tiles, Tile("all", 1.5, "all.webp", kind="aggregate"))))


def test_figures_have_four_digits() -> None:
    text = html(CARD)
    assert "<td>0.8437</td>" in text
    assert "<td>−inf</td>" in text
    assert "<td>f</td>" in text


def test_an_empty_gallery_says_so_and_has_no_controls() -> None:
    text = html()
    assert "The gallery is empty." in text
    assert "<form" not in text


def test_text_is_escaped() -> None:
    nasty = '<script>alert("x")</script>'
    card = replace(CARD, key=nasty, labels=(nasty,), prediction=nasty, tiles=(Tile(nasty, 1.0, "heat.webp"),))
    text = html(card, title=nasty)
    assert nasty not in text
    assert text.count("&lt;script&gt;") >= 6


def test_a_document_needs_no_other_file() -> None:
    text = document("a title", "<p>a body</p>")
    assert text.startswith("<!doctype html>")
    assert "<title>a title</title>" in text
    assert "<p>a body</p>" in text
    assert "http" not in text
