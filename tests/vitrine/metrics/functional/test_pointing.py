"""The pointing game's hits and its difficult subset: by hand, against a naive disc, and on the published list."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.box_maps import peak
from vitrine.data.shards.converters.voc import CLASSES, list_voc
from vitrine.metrics.functional import box_region, degenerate, is_difficult, maximum_point, pointing_hit


def hit(x: int, y: int, *boxes: Sequence[float], tolerance: float = 15.0) -> float:
    return float(pointing_hit(peak(x, y)[None], [torch.tensor(boxes).reshape(-1, 4)], tolerance))


def test_the_maximum_is_x_then_y() -> None:
    maps = torch.stack([peak(3, 1), peak(0, 39), peak(49, 0)])
    assert maximum_point(maps).tolist() == [[3, 1], [0, 39], [49, 0]]
    assert maximum_point(torch.zeros(0, 4, 5)).shape == (0, 2)


def test_the_first_in_row_order_wins_a_tie() -> None:
    maps = torch.zeros(4, 6)
    maps[2, 1] = maps[1, 4] = maps[1, 5] = maps[3, 0] = 2.0
    assert maximum_point(maps[None]).tolist() == [[4, 1]]
    assert maximum_point(torch.ones(2, 300, 300)).tolist() == [[0, 0]] * 2


def test_degenerate_maps_say_nothing() -> None:
    good = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    bad = [torch.full((2, 2), value) for value in (0.0, -3.0, 0.1, torch.nan, torch.inf)]
    bad += [torch.tensor([[0.0, 1.0], [0.0, value]]) for value in (torch.nan, -torch.inf)]
    assert degenerate(torch.stack([good, *bad, -good])).tolist() == [False] + [True] * 7 + [False]
    hits = pointing_hit(torch.stack([good, *bad]), [torch.tensor([[0.0, 0.0, 2.0, 2.0]])] * 8)
    assert hits[0] == 1
    assert hits[1:].isnan().all()


def test_a_map_without_positive_part_has_a_maximum_too() -> None:
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(50.0), indexing="ij")
    away = -((x - 30) ** 2 + (y - 20) ** 2)
    assert pointing_hit(away[None], [torch.tensor([[30.0, 20.0, 31.0, 21.0]])], 0).tolist() == [1]


@pytest.mark.parametrize(
    ("point", "expected"),
    [((10, 5), 1), ((19, 9), 1), ((20, 9), 0), ((19, 10), 0), ((9, 5), 0), ((10, 4), 0), ((15, 7), 1)],
)
def test_boxes_are_half_open(point: tuple[int, int], expected: float) -> None:
    assert hit(*point, (10, 5, 20, 10), tolerance=0) == expected


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ((34, 7), 1),  # the last column of the box is 19
        ((35, 7), 0),
        ((15, 24), 1),  # its last row is 9
        ((15, 25), 0),
        ((28, 21), 1),  # 9, 12 and 15 are a right triangle
        ((28, 22), 0),
        ((29, 21), 0),
        ((31, 18), 1),
    ],
)
def test_a_hit_is_15_pixels_away_at_most(point: tuple[int, int], expected: float) -> None:
    assert hit(*point, (10, 5, 20, 10)) == expected


def test_the_distance_before_a_box_is_that_behind_it() -> None:
    box = (30, 25, 40, 30)
    assert [hit(15, 27, box), hit(14, 27, box), hit(35, 10, box), hit(35, 9, box)] == [1, 0, 1, 0]
    assert [hit(21, 13, box), hit(20, 13, box), hit(21, 12, box)] == [1, 0, 0]


def test_any_box_will_do_and_none_is_a_miss() -> None:
    assert hit(40, 30, (0, 0, 5, 5), (38, 28, 42, 33), tolerance=0) == 1
    assert hit(40, 30) == 0
    maps = torch.stack([peak(1, 1), torch.zeros(40, 50)])
    assert pointing_hit(maps, [None, None]).nan_to_num(-1).tolist() == [0, -1]


def test_a_box_between_two_pixels_is_still_a_box() -> None:
    assert hit(12, 8, (12.2, 8.1, 12.4, 8.3), tolerance=0) == 1
    assert hit(13, 8, (12.2, 8.1, 12.4, 8.3), tolerance=0) == 0


def naive_hit(image: list[list[int]], boxes: list[tuple[int, int, int, int]], tolerance: float) -> float:
    """Scans for the first maximum, then asks of every pixel near it whether it is in a box."""
    if len({value for row in image for value in row}) == 1:
        return math.nan
    best = max(max(row) for row in image)
    px, py = next((x, y) for y, row in enumerate(image) for x, value in enumerate(row) if value == best)
    for y in range(len(image)):
        for x in range(len(image[0])):
            inside = any(x0 <= x < x1 and y0 <= y < y1 for x0, y0, x1, y1 in boxes)
            if inside and math.hypot(x - px, y - py) <= tolerance:
                return 1.0
    return 0.0


SIDE = 9


CORNERS = st.tuples(*[st.integers(0, SIDE - 1)] * 2, *[st.integers(1, SIDE)] * 2).filter(
    lambda box: box[0] < box[2] and box[1] < box[3]
)


@given(
    image=st.lists(st.lists(st.integers(-2, 2), min_size=SIDE, max_size=SIDE), min_size=SIDE, max_size=SIDE),
    boxes=st.lists(CORNERS, max_size=3),
    tolerance=st.sampled_from([0, 1, 2, 2.9, 3, 5, 7.5]),
)
def test_it_is_the_naive_disc(image: list[list[int]], boxes: list[tuple[int, int, int, int]], tolerance: float) -> None:
    fast = pointing_hit(torch.tensor([image]).float(), [torch.tensor(boxes).float().reshape(-1, 4)], tolerance)
    torch.testing.assert_close(float(fast), naive_hit(image, boxes, tolerance), equal_nan=True)


@given(point=st.tuples(st.integers(0, 49), st.integers(0, 39)), seed=st.integers(0, 99))
def test_without_tolerance_it_is_the_region_of_the_boxes(point: tuple[int, int], seed: int) -> None:
    corners = torch.randint(0, 30, (2, 4), generator=torch.Generator().manual_seed(seed)).float()
    boxes = torch.cat([corners[:, :2], corners[:, :2] + 1 + corners[:, 2:] / 3 // 1], dim=1)
    assert pointing_hit(peak(*point)[None], [boxes], 0) == float(box_region(boxes, (40, 50))[point[1], point[0]])


@pytest.mark.parametrize(
    ("boxes", "labels", "flags", "expected"),
    [
        ([(0, 0, 10, 9), (30, 30, 40, 40)], [3, 4], [0, 0], True),
        ([(0, 0, 10, 10), (30, 30, 40, 40)], [3, 4], [0, 0], False),  # a quarter is not less than one
        ([(0, 0, 10, 9)], [3], [0], False),
        ([(0, 0, 10, 9), (2, 2, 4, 4)], [3, 3], [0, 0], False),
        ([(0, 0, 10, 9), (10, 0, 20, 1), (0, 0, 1, 1)], [3, 3, 4], [0, 0, 0], False),
        ([(0, 0, 10, 9), (0, 0, 10, 8), (0, 0, 1, 1)], [3, 3, 4], [0, 0, 0], True),  # the union, not the sum
        ([(0, 0, 10, 9), (10, 0, 20, 1), (0, 0, 1, 1)], [3, 3, 4], [0, 1, 0], False),  # flagged ones count
        ([(0, 0, 10, 9), (30, 30, 40, 40)], [3, 4], [0, 1], False),  # but they put no class into the image
        ([(0, 0, 10, 9), (30, 30, 40, 40)], [3, 4], [1, 0], False),
        ([(30, 30, 40, 40)], [4], [0], False),
    ],
)
def test_what_is_difficult(boxes: list[Any], labels: list[int], flags: list[int], *, expected: bool) -> None:
    given_boxes, given_labels = torch.tensor(boxes).float(), torch.tensor(labels)
    assert is_difficult(given_boxes, given_labels, 3, (10, 40), torch.tensor(flags).bool()) is expected
    if not any(flags):
        assert is_difficult(given_boxes, given_labels, 3, (10, 40)) is expected


def test_the_rule_gives_the_published_subset(real_data: Path) -> None:
    """All of the 5000 flags of 250 images, 197 of them set."""
    from PIL import Image

    lines = (real_data / "VOCdevkit/VOC2007/pointing_game_difficult.txt").read_text().splitlines()
    published = {name: [flag == "1" for flag in flags] for name, *flags in map(str.split, lines)}
    found, expected = [], []
    for sample in list_voc(real_data / "VOCdevkit", "test").samples:
        assert isinstance(sample.image, Path)
        with Image.open(sample.image) as image:
            size = (image.height, image.width)
        boxes, labels = torch.tensor(sample.boxes).reshape(-1, 4), torch.tensor(sample.box_labels)
        flags = torch.tensor(sample.box_difficult).bool()
        found.append([is_difficult(boxes, labels, label, size, flags) for label in range(len(CLASSES))])
        expected.append(published[sample.key])
    assert found == expected
    assert len(found) == 250
    assert sum(map(sum, found)) == 197
