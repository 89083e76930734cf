"""Grids of captioned pictures: where pictures lie, and captions that fit above them."""

import numpy as np
import pytest
from PIL import Image

from vitrine.visualization.grid import LINE, WIDEST_TITLE, captioned_grid

RED, BLUE = Image.new("RGB", (30, 20), "#ff0000"), Image.new("RGB", (30, 20), "#0000ff")
GAP, CAPTION = 10, LINE + 4


def pixels_of(sheet: Image.Image, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """(x0, y0, x1, y1) around the pixels of a colour."""
    rows, columns = (np.asarray(sheet) == colour).all(axis=2).nonzero()
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def test_pictures_lie_below_their_captions_in_rows() -> None:
    sheet = captioned_grid([[("", RED), ("", RED)], [("", BLUE)]])
    assert sheet.size == (2 * (30 + GAP) + GAP, 2 * (CAPTION + 20 + GAP) + GAP)
    assert pixels_of(sheet, (255, 0, 0)) == (GAP, GAP + CAPTION, GAP + 30 + GAP + 30, GAP + CAPTION + 20)
    top = 2 * GAP + 2 * CAPTION + 20
    assert pixels_of(sheet, (0, 0, 255)) == (GAP, top, GAP + 30, top + 20)


def test_captions_of_several_lines_make_room_for_all() -> None:
    one, two = (captioned_grid([[(caption, RED)]]) for caption in ("a", "a\nb"))
    assert two.height == one.height + LINE
    ink = np.asarray(two).max(axis=2) < 128
    assert ink[: GAP + LINE].any()


def test_a_title_is_above_all() -> None:
    plain, titled = captioned_grid([[("", RED)]]), captioned_grid([[("", RED)]], "a title")
    assert titled.height == plain.height + 2 * LINE
    x0, y0, x1, y1 = pixels_of(plain, (255, 0, 0))
    assert pixels_of(titled, (255, 0, 0)) == (x0, y0 + 2 * LINE, x1, y1 + 2 * LINE)


def test_a_title_is_readable_above_a_single_small_picture() -> None:
    tile = ("+1.0", Image.new("RGB", (40, 40)))
    plain = captioned_grid([[tile]])
    short, long, longest = (captioned_grid([[tile]], "n" * count) for count in (1, 30, 500))
    assert short.width == plain.width < long.width < longest.width == WIDEST_TITLE
    ink = np.asarray(long)[: long.height - plain.height].min(axis=(0, 2)) < 128
    assert ink[plain.width :].any()
    assert np.array_equal(np.asarray(long)[-plain.height :, : plain.width], np.asarray(plain))


@pytest.mark.parametrize("rows", [[], [[]]])
def test_no_picture_is_refused(rows: list[list[tuple[str, Image.Image]]]) -> None:
    with pytest.raises(ValueError, match="at least one picture"):
        captioned_grid(rows)
