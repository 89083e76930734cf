from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vitrine.core.explanation import Explanation
from vitrine.visualization.overlays import heat_layer
from vitrine.visualization.report.gallery import GalleryEntry, write_gallery

NASTY = "<script>alert('x')</script> & \"co\""


class Reader(HTMLParser):
    """Collects tags with their attributes, and the text."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "img", "input"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in {"script", "style"}:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def entry(key: str, label: int | None = 0, prediction: int = 0, heatmaps: int = 3) -> GalleryEntry:
    generator = torch.Generator().manual_seed(len(key))
    shown = Explanation(
        heatmaps=torch.rand(1, heatmaps, 10, 14, generator=generator),
        scores=torch.tensor([[12.306, -3.5, 1.0, 2.0][:heatmaps]]),
        labels=[[f"x-feature {k + 1}" for k in range(heatmaps)]],
        prediction=torch.tensor([prediction]),
        target=torch.tensor([prediction]),
        logits=torch.tensor([[0.0, 0.0, 0.0]]).index_fill(1, torch.tensor([prediction]), 2.0),
    )
    return GalleryEntry(key, torch.rand(3, 10, 14, generator=generator), () if label is None else (label,), shown)


def write(folder: Path, *entries: GalleryEntry, title: str = "A gallery") -> Reader:
    metrics = {"test/accuracy": 0.84371, "test/o2": float("inf"), "test/log": -1.5}
    names = ["loon", "tern", NASTY]
    return Reader(write_gallery(folder / "report", entries, title=title, metrics=metrics, class_names=names))


def test_returns_the_page_beside_its_pictures(tmp_path: Path) -> None:
    path = write_gallery(tmp_path / "r", [entry("k")], title="t", metrics={}, class_names=["a"])
    assert path == tmp_path / "r" / "index.html"
    names = sorted(picture.name for picture in (tmp_path / "r" / "images").iterdir())
    assert names == ["0001-1.webp", "0001-2.webp", "0001-3.webp", "0001-all.webp", "0001.webp"]
    assert [p.name for p in tmp_path.iterdir()] == ["r"]


def test_every_picture_is_there_and_has_an_alternative_text(tmp_path: Path) -> None:
    page = write(tmp_path, entry("a/1"), entry("b/2", label=1))
    images = page.all("img")
    assert {image["src"] for image in images} == {f"images/{p.name}" for p in tmp_path.glob("report/images/*")}
    assert all("alt" in image for image in images)
    heats = [image for image in images if image.get("class") == "heat"]
    assert heats[0]["alt"] == "Heatmap of x-feature 1 on a/1, contribution +12.31"


def test_layers_are_the_heatmaps(tmp_path: Path) -> None:
    shown = entry("k")
    write(tmp_path, shown)
    with Image.open(tmp_path / "report" / "images" / "0001-2.webp") as found:
        expected = heat_layer(shown.explanation.heatmaps[0, 1])
        assert expected is not None
        assert np.array_equal(np.asarray(found.convert("RGBA"))[..., 3], np.asarray(expected)[..., 3])


def test_tells_prediction_contributions_and_metrics(tmp_path: Path) -> None:
    text = write(tmp_path, entry("k", label=1, prediction=0)).text
    probability = 100 * torch.tensor([2.0, 0, 0]).softmax(0)[0]
    for part in (
        f"{probability:.1f} %",
        "+12.31",
        "−3.50",
        "Σ +9.81",
        "0.8437",
        "inf",
        "−1.5",
        "✗ wrong",
        "loon",
        "tern",
    ):
        assert part in text


def test_verdicts(tmp_path: Path) -> None:
    page = write(tmp_path, entry("a"), entry("b", label=1), entry("c", label=None))
    assert [card["data-verdict"] for card in page.all("article")] == ["right", "wrong", "unknown"]


def test_a_multi_label_image_is_right_with_any_of_its_labels(tmp_path: Path) -> None:
    page = write(tmp_path, replace(entry("a", prediction=1), labels=(0, 1)))
    card = page.all("article")[0]
    assert card["data-verdict"] == "right"
    assert card["data-classes"] == '["loon", "tern"]'


def test_text_is_escaped_everywhere(tmp_path: Path) -> None:
    shown = entry(NASTY, label=2, prediction=2)
    labels = replace(shown.explanation, labels=[[NASTY] * 3])
    page = write(tmp_path, replace(shown, explanation=labels), title=NASTY)
    assert len(page.all("script")) == 1
    assert page.text.count(NASTY) >= 6  # title, heading, class, key, label, prediction
    assert any(image["alt"] == f"{NASTY}, predicted as {NASTY}" for image in page.all("img"))
    assert not page.open


def test_no_network_is_needed(tmp_path: Path) -> None:
    write(tmp_path, entry("k"))
    html = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert not any(word in html for word in ("http:", "https:", "//cdn", "@import", "url("))


def test_sorted_by_class_then_key_unlabelled_last(tmp_path: Path) -> None:
    page = write(tmp_path, entry("z", label=None), entry("b", label=1), entry("c"), entry("a"), entry("d", label=1))
    alternatives = [i["alt"] for i in page.all("img") if i["alt"] and "predicted" in i["alt"]]
    assert [str(alt)[0] for alt in alternatives] == ["a", "c", "b", "d", "z"]
    assert len(page.all("section")) == 3


def test_labels_have_the_colours_of_their_layers(tmp_path: Path) -> None:
    """Green for convolutional layers, pink for fully-connected ones, as in figure 1 of the μ-Lasso's paper."""
    shown = entry("k")
    assert not any("style" in label for label in write(tmp_path, shown).all("b"))
    kinds = replace(shown.explanation, kinds=[["pool", "linear", "activation"]])
    labels = write(tmp_path, replace(shown, explanation=kinds)).all("b")
    styles = [label.get("style") for label in labels if "title" in label]
    assert styles == ["color:#1a7f37", "color:#d0307f", None, None]  # the last one is all of them together


def test_all_together_are_joined_as_the_explanation_says(tmp_path: Path) -> None:
    shown = entry("k")
    layers = []
    for aggregation in ("sum", "maximum"):
        joined = replace(shown.explanation, aggregation=aggregation)
        write(tmp_path, replace(shown, explanation=joined))
        with Image.open(tmp_path / "report" / "images" / "0001-all.webp") as found:
            layers.append(np.asarray(found.convert("RGBA"))[..., 3])
        expected = heat_layer(joined.aggregate()[0, 0])
        assert expected is not None
        assert np.array_equal(layers[-1], np.asarray(expected)[..., 3])
    assert not np.array_equal(layers[0], layers[1])


def test_a_single_heatmap_has_no_aggregate(tmp_path: Path) -> None:
    page = write(tmp_path, entry("k", heatmaps=1))
    assert "all together" not in page.text
    assert len(page.all("figure")) == 2


def test_explained_class_is_told_where_it_is_not_the_prediction(tmp_path: Path) -> None:
    shown = entry("k")
    assert "Explained" not in write(tmp_path, shown).text
    other = replace(shown, explanation=replace(shown.explanation, target=torch.tensor([1])))
    assert "Explainedtern" in write(tmp_path, other).text


def test_degenerate_heatmaps_have_a_note_and_no_layer(tmp_path: Path) -> None:
    shown = entry("k")
    maps = shown.explanation.heatmaps.clone()
    maps[0, 0], maps[0, 1] = float("nan"), 0.0
    scores = torch.tensor([[float("nan"), 0.0, 1.0]])
    page = write(tmp_path, replace(shown, explanation=replace(shown.explanation, heatmaps=maps, scores=scores)))
    assert page.text.count("no positive evidence") >= 2
    assert not (tmp_path / "report" / "images" / "0001-1.webp").exists()


def test_half_precision_maps_are_summed_in_full(tmp_path: Path) -> None:
    shown = entry("k")
    # 300 × 300 ones add up to more than half precision can hold.
    maps = torch.ones(1, 3, 300, 300)
    maps[0, :, :10] = 0
    half = replace(shown.explanation, heatmaps=maps.half())
    write(tmp_path, replace(shown, image=torch.rand(3, 300, 300), explanation=half))
    assert (tmp_path / "report" / "images" / "0001-all.webp").exists()


def test_an_empty_gallery_says_so(tmp_path: Path) -> None:
    page = write(tmp_path)
    assert "The gallery is empty." in page.text
    assert not page.all("form")


def test_settings_are_shown(tmp_path: Path) -> None:
    path = write_gallery(tmp_path / "r", [], title="t", metrics={}, class_names=[], settings={"Seed": "<7>"})
    assert "Seed<7>" in Reader(path).text


def test_an_earlier_gallery_is_replaced_whole(tmp_path: Path) -> None:
    write(tmp_path, entry("a"), entry("b"))
    write(tmp_path, entry("c"))
    assert not list(tmp_path.glob("report/images/0002*"))
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_an_error_leaves_the_earlier_gallery(tmp_path: Path) -> None:
    write(tmp_path, entry("a"))
    two = Explanation.cat([entry("a").explanation] * 2)
    with pytest.raises(ValueError, match="entry 'b' must hold the explanation of one image, got 2"):
        write(tmp_path, replace(entry("b"), explanation=two))
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
    assert "a" in write(tmp_path, entry("a")).text
