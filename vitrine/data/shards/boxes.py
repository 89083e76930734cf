"""Boxes of a sample: clipped to their image, or refused."""

import math
from collections.abc import Sequence

from vitrine.data.orientation import Size

TOLERANCE = 1.0
"""Pixels by which a box may end outside of its image: counting from 1 in place of 0, or rounding."""


def clip_boxes(boxes: Sequence[Sequence[float]], size: Size, name: str) -> tuple[list[list[float]], int]:
    """Clips boxes that end at most a pixel outside of their image, and counts them.

    Args:
        boxes: x0, y0, x1, y1 in pixels, half open; fractions are kept.
        size: width and height of the image.
        name: of the image in messages.

    Raises:
        ValueError: for a box that is no four finite numbers with x0 < x1 and y0 < y1, ends farther outside, or is empty once
            it is clipped.

    Example:
        >>> clip_boxes([(-1, 0, 8, 6.5)], (8, 6), "a.jpg")
        ([[0.0, 0.0, 8.0, 6.0]], 1)
    """
    plain = [[float(value) for value in box] for box in boxes]
    clipped = [_clipped(box, size) for box in plain]
    for number, (before, after) in enumerate(zip(plain, clipped, strict=True)):
        if after is None:
            raise ValueError(
                f"{name}: box {number} {before} is no x0 < x1, y0 < y1 that overlaps the {size[0]} x {size[1]} image and"
                f" ends at most {TOLERANCE:g} pixel outside of it: correct or remove it."
            )
    kept = [box for box in clipped if box is not None]
    return kept, sum(before != after for before, after in zip(plain, kept, strict=True))


def _clipped(box: list[float], size: Size) -> list[float] | None:
    if len(box) != 4 or not all(map(math.isfinite, box)) or box[0] >= box[2] or box[1] >= box[3]:
        return None
    if min(box[:2]) < -TOLERANCE or box[2] > size[0] + TOLERANCE or box[3] > size[1] + TOLERANCE:
        return None
    x0, y0, x1, y1 = max(box[0], 0.0), max(box[1], 0.0), min(box[2], float(size[0])), min(box[3], float(size[1]))
    return [x0, y0, x1, y1] if x0 < x1 and y0 < y1 else None
