"""Curves as SVG: lines, gaps, legends and words."""

import math
import re
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from vitrine.visualization.comparison.curves import COLOURS, HEIGHT, WIDTH, curves_figure
from vitrine.visualization.comparison.tested_runs import RunCurve


def curve(y: Sequence[float]) -> RunCurve:
    return RunCurve([n / (len(y) - 1) for n in range(len(y))], y, "threshold", "IoU (%)")


def lines(text: str) -> dict[str, tuple[str, str]]:
    """By method, the path of its line and its colour."""
    paths = ET.fromstring(text[text.index("<svg") : text.index("</svg>") + 6]).findall("path")  # noqa: S314
    return {path.findtext("title", ""): (path.attrib["d"], path.attrib["stroke"]) for path in paths}


def test_each_method_has_its_line_and_its_entry_in_the_legend() -> None:
    text = curves_figure("iou", {"A": curve([0, 1, 2]), "C": curve([2, 1, 0])}, ["A", "B", "C"])
    found = lines(text)
    assert [colour for _, colour in found.values()] == [COLOURS[0], COLOURS[2]]
    assert len(re.findall(r"<li>", text)) == 2
    points = [tuple(map(float, point.split(","))) for point in found["A"][0][1:].split(" L")]
    assert points[0] == (58, HEIGHT - 46)
    assert points[2] == (WIDTH - 14, 12)
    assert points[1] == ((points[0][0] + points[2][0]) / 2, (points[0][1] + points[2][1]) / 2)


def test_a_missing_value_breaks_the_line() -> None:
    text = curves_figure("iou", {"A": curve([0, 1, math.nan, 2, 3]), "B": curve([1, math.nan, 1])}, ["A", "B"])
    assert lines(text)["A"][0].count("M") == 2
    assert "nan" not in text
    first, second = lines(text)["B"][0].split(" M")
    assert len(set(first[1:].split(" L"))) == 1  # a point alone is a dot
    assert len(second.split(" L")) == 2


def test_words_say_what_is_shown_and_are_escaped() -> None:
    text = curves_figure("a<b", {'A"&': curve([0.5, 1, 2])}, ['A"&'])
    assert 'aria-label="a&lt;b: IoU (%) by threshold. A&quot;&amp; from 0.5 to 2."' in text
    assert "<b>a&lt;b</b>" in text
    assert "a<b:" not in text


def test_nothing_is_drawn_of_nothing() -> None:
    assert curves_figure("iou", {}, ["A"]) == ""
    assert curves_figure("iou", {"A": curve([math.nan, math.inf])}, ["A"]) == ""


def test_more_methods_than_colours_are_told_apart() -> None:
    methods = [f"m{n}" for n in range(2 * len(COLOURS))]
    text = curves_figure("iou", {method: curve([0, 1]) for method in methods}, methods)
    looks = re.findall(r'<path d="M1 5 H25" ([^/]*)/>', text)
    assert len(set(looks)) == len(methods)
