"""Curves as SVG: lines, gaps, legends and words."""

import math
import re
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from vitrine.visualization.comparison.curves import COLOURS, HEIGHT, WIDTH, curves_figure, curves_file
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


def test_a_file_of_its_own_has_title_axes_and_legend() -> None:
    text = curves_file("Title & more", {"a < b": curve([0, 1, 2]), "gap": curve([2, math.nan, 0])})
    root = ET.fromstring(text)  # noqa: S314 - our own text
    name = "{http://www.w3.org/2000/svg}"
    texts = [element.text.strip() for element in root.iter(f"{name}text") if element.text]
    assert {"Title & more", "threshold", "IoU (%)", "a < b", "gap"} <= set(texts)
    plotted = [path for path in root.iter(f"{name}path") if path.find(f"{name}title") is not None]
    assert [path.attrib["stroke"] for path in plotted] == list(COLOURS[:2])
    height = float(root.attrib["viewBox"].split()[3])
    assert all(float(element.attrib.get("y", 0)) < height for element in root.iter(f"{name}text"))
    inner = lines(curves_figure("iou", {"a < b": curve([0, 1, 2])}, ["a < b"]))
    assert plotted[0].attrib["d"] == inner["a < b"][0]  # as on the page


def test_nothing_finite_gives_no_file() -> None:
    assert curves_file("Title", {"a": curve([math.nan, math.nan])}) == ""
