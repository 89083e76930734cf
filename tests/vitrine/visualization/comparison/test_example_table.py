"""The table of example images: every picture in the page, each photograph once."""

import base64
import io
import re
from dataclasses import replace

import torch
from PIL import Image

from vitrine.visualization.comparison.example_table import example_table
from vitrine.visualization.comparison.examples import Example

IMAGE = torch.rand(3, 20, 40, generator=torch.Generator().manual_seed(0))
SPOT = torch.zeros(20, 40)
SPOT[8:12, 20:30] = 1
EXAMPLE = Example("k<1>", "rose", IMAGE, SPOT)


def photos(text: str) -> list[Image.Image]:
    found = re.findall(r"background-image: url\(data:image/webp;base64,([^)]*)\)", text)
    return [Image.open(io.BytesIO(base64.b64decode(code))) for code in found]


def test_a_photograph_is_there_once_for_all_methods_that_saw_it() -> None:
    two = {"a": {("k", 0): EXAMPLE}, "b": {("k", 0): EXAMPLE}}
    (photo,) = photos(example_table(two))
    assert photo.size == (160, 80)
    assert example_table(two).count('<td><div class="frame photo-0" style="aspect-ratio:40/20"') == 2
    other = {**two, "c": {("k", 0): replace(EXAMPLE, image=IMAGE[:, :, :20], map=SPOT[:, :20])}}
    assert [photo.size for photo in photos(example_table(other))] == [(160, 80), (160, 160)]


def test_every_picture_has_words() -> None:
    text = example_table({"A&B": {("k", 0): EXAMPLE}})
    assert 'aria-label="k&lt;1&gt;, class rose"' in text
    assert 'alt="Heatmap of A&amp;B on k&lt;1&gt; for rose"' in text
    assert "<1>" not in text


def test_a_map_without_evidence_says_so() -> None:
    text = example_table({"a": {("k", 0): replace(EXAMPLE, map=torch.zeros(20, 40))}})
    assert "no positive evidence" in text
    assert 'class="heat"' not in text


def test_another_class_is_named_below_its_picture() -> None:
    text = example_table({"a": {("k", 0): EXAMPLE}, "b": {("k", 0): replace(EXAMPLE, target="tulip")}})
    assert text.count("<small>tulip</small>") == 1
    assert "<small>rose</small>" not in text


def test_nothing_is_written_of_nothing() -> None:
    assert example_table({}) == ""
