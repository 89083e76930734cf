"""Boxes of samples: clipped where they end a pixel outside of their image, refused where they are none."""

import math

import pytest

from vitrine.data.shards.boxes import clip_boxes


@pytest.mark.parametrize(
    ("box", "clipped"),
    [
        ((0, 0, 8, 6), [0, 0, 8, 6]),
        ((1.5, 2.25, 3.75, 4), [1.5, 2.25, 3.75, 4]),
        ((-1, -0.5, 9, 6.75), [0, 0, 8, 6]),
        ((7, 5, 9, 7), [7, 5, 8, 6]),
    ],
)
def test_boxes_within_a_pixel_are_clipped_and_counted(box: tuple[float, ...], clipped: list[float]) -> None:
    assert clip_boxes([box, (0, 0, 1, 1)], (8, 6), "a.jpg") == ([clipped, [0, 0, 1, 1]], int(list(box) != clipped))


@pytest.mark.parametrize(
    "box",
    [
        (0, 0, 9.5, 6), (0, 0, 8, 7.5), (-1.5, 0, 8, 6), (0, -2, 8, 6), (80, 60, 90, 70), (8, 0, 9, 6), (-1, 0, 0, 6),
        (5, 0, 1, 6), (0, 5, 8, 1), (3, 0, 3, 6), (math.nan, 0, 8, 6), (0, 0, math.inf, 6), (0, 0, 8), (0, 0, 8, 6, 1),
    ],
)  # fmt: skip
def test_other_boxes_are_named(box: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"^a\.jpg: box 1 \[.*8 x 6"):
        clip_boxes([(0, 0, 1, 1), box], (8, 6), "a.jpg")
