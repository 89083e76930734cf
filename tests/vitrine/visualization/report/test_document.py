"""Documents: whole by themselves, and readable in light and dark."""

import re
from pathlib import Path

import pytest

from vitrine.visualization.report.assets import asset
from vitrine.visualization.report.document import document

FOLDER = Path(asset.__wrapped__.__code__.co_filename).parent
ON = {
    "ink": ("page", "sheet"), "soft": ("page", "sheet"), "accent": ("page", "sheet"), "conv": ("sheet",),
    "linear": ("sheet",), "right": ("right-bg", "sheet"), "wrong": ("wrong-bg", "sheet"), "sheet": ("ink",),
}  # fmt: skip
"""Colours of text, and what they stand on."""


def palettes() -> dict[str, dict[str, str]]:
    """The colours of both schemes by name."""
    blocks = re.findall(r":root \{(.*?)\}", asset("page.css"), flags=re.DOTALL)
    assert len(blocks) == 2
    light, dark = (dict(re.findall(r"--([\w-]+): (#\w+)", block)) for block in blocks)
    assert light.keys() == dark.keys()
    return {"light": light, "dark": dark}


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    values = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in values]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_a_contrast_of_four_and_a_half(scheme: str) -> None:
    colours = palettes()[scheme]
    for text, grounds in ON.items():
        for ground in grounds:
            low, high = sorted(luminance(colours[name]) for name in (text, ground))
            assert (high + 0.05) / (low + 0.05) >= 4.5, f"{text} on {ground}"


def test_colours_come_from_the_palettes_alone() -> None:
    """So that what is tested above is all text."""
    for path in FOLDER.glob("*.css"):
        rules = re.sub(r":root \{.*?\}", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        found = set(re.findall(r"(?<![-\w])color: ?(#\w+|\w+)", rules)) - {"var", "inherit"}
        assert found <= {"#fff", "#333"}, path.name  # on the dark note, and on the white of thumbnails


def test_a_document_needs_no_other_file() -> None:
    text = document("a <title>", "<p>a body</p>", styles=("zoom.css",), scripts=("names_yaml.js",))
    assert text.startswith("<!doctype html>")
    assert "<title>a &lt;title&gt;</title>" in text
    assert "<p>a body</p>" in text
    assert "http" not in text
    assert "needs JavaScript" in text
    assert "needs JavaScript" not in document("t", "")
