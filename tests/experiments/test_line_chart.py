"""Line charts: points where a hand-made scale puts them, lines broken where there is nothing."""

import math
import re
from xml.etree import ElementTree as ET

import pytest

from experiments.line_chart import Line, line_chart, round_ticks

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.0, 1.0], [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        ([-3.0, 12.0], [-5.0, 0.0, 5.0, 10.0, 15.0]),
        ([4.0, 4.0], [2.0, 3.0, 4.0, 5.0, 6.0]),
        ([0.0], [-0.6, -0.4, -0.2, 0.0, 0.2, 0.4, 0.6]),
        ([], [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
    ],
)
def test_ticks_are_round_and_hold_all_values(values: list[float], ticks: list[float]) -> None:
    assert round_ticks(values) == pytest.approx(ticks)


def test_a_chart() -> None:
    lines = {"a < b": Line([0, 0.5, 1], [0.0, 1.0, 0.5]), "gap": Line([0, 0.25, 0.5, 1], [0.2, None, math.nan, 1])}
    root = ET.fromstring(line_chart(lines, "Title & more", "threshold", "IoU"))  # noqa: S314 - our own text
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert {"Title & more", "threshold", "IoU", "a < b", "gap", "0.2"} <= set(texts)
    strokes = [stroke.get("points", "") for stroke in root.iter(f"{SVG}polyline")]
    assert strokes[0] == "64.0,352.0 267.0,36.0 470.0,194.0"  # the whole range of both axes is 0 to 1
    assert [len(re.findall(",", stroke)) for stroke in strokes] == [3, 1, 1]
