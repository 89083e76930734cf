"""The pointing game by hand, against a naive disc, and on the published difficult subset."""

import math
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.helpers.ranks import RankPool
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.data.shards.converters.voc import CLASSES, list_voc
from vitrine.metrics import PointingGame, metrics_for
from vitrine.metrics.functional import box_region, degenerate, is_difficult, maximum_point, pointing_hit


def peak(x: int, y: int, size: tuple[int, int] = (40, 50)) -> Tensor:
    """An (H, W) map with its maximum at a pixel."""
    found = torch.zeros(size)
    found[y, x] = 1
    return found


def hit(x: int, y: int, *boxes: Sequence[float], tolerance: float = 15.0) -> float:
    return float(pointing_hit(peak(x, y)[None], [torch.tensor(boxes).reshape(-1, 4)], tolerance))


# Maxima and degenerate maps


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


# Hits


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


# The difficult subset


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


# The metric


def explanation_of(maps: Tensor, target: list[int]) -> Explanation:
    count = len(maps)
    classes = torch.tensor(target)
    other = torch.full_like(classes, 9)  # what is predicted does not matter
    return Explanation(maps[:, None], torch.ones(count, 1), [["map"]] * count, other, classes, torch.zeros(count, 10))


BOX = {2: (0.0, 0.0, 10.0, 10.0), 5: (40.0, 30.0, 50.0, 40.0), 7: (0.0, 0.0, 50.0, 40.0)}
# Map, explained class, classes with a box in the image, difficult flag of the first of them.
ROWS: list[tuple[Tensor, int, list[int], int]] = [
    (peak(2, 2), 2, [2, 5], 0),  # a hit, difficult: small, and class 5 is there too
    (peak(45, 35), 2, [2, 5], 0),  # a miss, difficult
    (peak(9, 9), 2, [2], 0),  # a hit, the only class
    (peak(2, 2), 5, [5, 2], 0),  # a miss, difficult
    (torch.zeros(40, 50), 5, [5], 0),  # degenerate
    (torch.zeros(40, 50), 5, [5, 2], 0),  # degenerate, difficult
    (peak(45, 35), 5, [5, 7], 1),  # a hit; the flag makes it not difficult
    (peak(25, 20), 7, [7], 0),  # a hit
    (peak(2, 2), 3, [2, 5], 0),  # no box of the class: skipped
    (torch.zeros(40, 50), 3, [], 0),  # skipped, not degenerate
]
EXPECTED = {
    "pointing_game": (2 / 3 + 1 / 4 + 1) / 3,
    "pointing_game/difficult": (1 / 2 + 0 / 2) / 2,
    "pointing_game/hits": 4.0,
    "pointing_game/misses": 2.0,
    "pointing_game/degenerate": 2.0,
    "pointing_game/skipped": 2.0,
}


def take(game: PointingGame, rows: list[tuple[Tensor, int, list[int], int]]) -> PointingGame:
    maps, targets, labels, flags = zip(*rows, strict=True)
    batch = Batch(
        boxes=[torch.tensor([BOX[label] for label in found]).reshape(-1, 4) for found in labels],
        box_labels=[torch.tensor(found, dtype=torch.int64) for found in labels],
        box_difficult=[torch.tensor([flag, *[0] * 9][: len(f)]).bool() for f, flag in zip(labels, flags, strict=True)],
    )
    game.update(explanation_of(torch.stack(maps), list(targets)), batch)
    return game


def values(game: PointingGame) -> dict[str, float]:
    return {name: float(value) for name, value in game.compute().items()}


def test_shares_are_means_over_classes_and_counts_stand_beside_them() -> None:
    assert values(take(PointingGame(), ROWS)) == pytest.approx(EXPECTED)


@pytest.mark.parametrize("cut", range(1, len(ROWS)))
def test_two_updates_and_two_ranks_equal_one(cut: int) -> None:
    assert values(take(take(PointingGame(), ROWS[:cut]), ROWS[cut:])) == pytest.approx(EXPECTED)
    ranks = [take(PointingGame(), ROWS[:cut]), take(PointingGame(), ROWS[cut:])]
    ranks[0].merge_state(ranks[1])
    assert values(ranks[0]) == pytest.approx(EXPECTED)


def test_states_survive_pickling_and_are_forgotten_on_reset() -> None:
    game = take(PointingGame(tolerance=3.0), ROWS)
    again = pickle.loads(pickle.dumps(game))
    assert values(again) == values(game)
    assert again.tolerance == 3
    game.reset()
    assert values(take(game, ROWS)) == pytest.approx(EXPECTED)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_nothing_taken_in_is_not_a_number() -> None:
    found = values(PointingGame())
    assert math.isnan(found["pointing_game"])
    assert math.isnan(found["pointing_game/difficult"])
    assert sum(value for name, value in found.items() if name not in {"pointing_game", "pointing_game/difficult"}) == 0
    only_skipped = values(take(PointingGame(), ROWS[-2:]))
    assert math.isnan(only_skipped["pointing_game"])
    assert only_skipped["pointing_game/skipped"] == 2


def test_without_box_labels_all_boxes_count_and_no_pair_is_difficult() -> None:
    game = PointingGame()
    boxes = [torch.tensor([BOX[2]]), torch.tensor([BOX[2]]), torch.zeros(0, 4)]
    game.update(explanation_of(torch.stack([peak(2, 2), peak(45, 35), peak(2, 2)]), [1, 8, 1]), Batch(boxes=boxes))
    found = values(game)
    assert math.isnan(found.pop("pointing_game/difficult"))
    assert found == {
        "pointing_game": 0.5,
        "pointing_game/hits": 1.0,
        "pointing_game/misses": 1.0,
        "pointing_game/degenerate": 0.0,
        "pointing_game/skipped": 1.0,
    }


def test_the_map_is_the_aggregate() -> None:
    """Of two x-features the one that speaks against the class does not point."""
    heatmaps = torch.stack([peak(2, 2), 5 * peak(45, 35)])[None]
    zero = torch.zeros(1, dtype=torch.int64)
    for scores, expected in (([1.0, -2.0], 1.0), ([1.0, 2.0], 0.0)):
        game = PointingGame()
        explanation = Explanation(heatmaps, torch.tensor([scores]), [["a", "b"]], zero, zero, torch.zeros(1, 1))
        game.update(explanation, Batch(boxes=[torch.tensor([BOX[2]])]))
        assert values(game)["pointing_game"] == expected


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_one_pixel_spoils_a_map(value: float) -> None:
    spoilt = peak(2, 2)
    spoilt[20, 20] = value
    found = values(take(PointingGame(), [(spoilt, 2, [2], 0), (peak(2, 2), 2, [2], 0)]))
    assert (found["pointing_game/degenerate"], found["pointing_game"]) == (1, 0.5)


def test_the_tolerance_is_an_option() -> None:
    rows = [(peak(12, 9), 2, [2], 0)]
    assert values(take(PointingGame(3), rows))["pointing_game/hits"] == 1
    assert values(take(PointingGame(2), rows))["pointing_game/hits"] == 0
    with pytest.raises(ValueError, match=r"tolerance is -1; give 0 or more"):
        PointingGame(-1)


def test_sets_with_boxes_play_it() -> None:
    assert "PointingGame" in [type(metric).__name__ for metric in metrics_for({"boxes"})]
    assert "PointingGame" not in [type(metric).__name__ for metric in metrics_for({"mask"})]


def values_after_each_cut(rank: int) -> list[dict[str, float]]:
    """Figures of two metrics: of the first, both ranks have taken rows; of the second, rank 0 has taken all."""
    found = []
    for cut in (3, len(ROWS)):
        rows = ROWS[cut:] if rank else ROWS[:cut]
        found.append(values(take(PointingGame(), rows) if rows else PointingGame()))
    return found


def test_two_processes_equal_one_also_where_one_has_no_batch(ranks: RankPool) -> None:
    assert ranks.run(values_after_each_cut) == [[pytest.approx(EXPECTED)] * 2] * 2
