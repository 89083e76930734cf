"""The pointing game as a metric: shares over classes, counts, ranks and options."""

import math
import pickle
import warnings

import pytest
import torch
from torch import Tensor

from tests.helpers.box_maps import peak
from tests.helpers.ranks import RankPool
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.metrics import PointingGame, metrics_for


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


def source_batch(window: tuple[float, ...], boxes: list[tuple[float, ...]], labels: list[int]) -> Batch:
    """One image of 60 × 100 pixels, of which the input shows the window."""
    return Batch(
        boxes=[torch.zeros(0, 4)],  # those of the input do not count
        box_labels=[torch.zeros(0, dtype=torch.int64)],
        source_size=torch.tensor([[60, 100]]),
        source_window=torch.tensor([window]),
        source_boxes=[torch.tensor(boxes)],
        source_box_labels=[torch.tensor(labels)],
    )


WHOLE, MIDDLE, FLIPPED = (0.0, 0.0, 100.0, 60.0), (20.0, 0.0, 80.0, 60.0), (100.0, 0.0, 0.0, 60.0)


@pytest.mark.parametrize(
    ("point", "window", "box", "tolerance"),
    [
        ((25, 20), WHOLE, (51.0, 30.0, 52.0, 31.0), 0.0),  # maps are 50 × 40: pixel (25, 20) shows (51, 30.75)
        ((25, 20), WHOLE, (60.0, 30.0, 70.0, 31.0), 9.0),
        ((25, 20), WHOLE, (60.0, 42.0, 70.0, 50.0), 15.0),  # 9 across and 12 down
        ((0, 0), MIDDLE, (20.0, 0.0, 21.0, 1.0), 0.0),
        ((0, 0), MIDDLE, (10.0, 0.0, 16.0, 5.0), 5.0),  # outside of the crop, last column 15
        ((0, 0), FLIPPED, (99.0, 0.0, 100.0, 1.0), 0.0),
        ((49, 39), WHOLE, (99.0, 59.0, 100.0, 60.0), 0.0),
    ],
)
def test_the_game_is_played_on_the_source(
    point: tuple[int, int], window: tuple[float, ...], box: tuple[float, ...], tolerance: float
) -> None:
    """A hit at this tolerance and a miss just below it; at 0, a miss where the box is one pixel further."""
    maps, batch = peak(*point)[None], source_batch(window, [box], [2])
    nearer = PointingGame(tolerance), PointingGame(max(tolerance - 0.01, 0))
    further = source_batch(window, [(box[0] - 3, box[1], box[0] - 2, box[3])], [2])
    for game, given, expected in (
        (nearer[0], batch, 1.0),
        (nearer[1], batch if tolerance else further, 0.0),
    ):
        game.update(explanation_of(maps, [2]), given)
        assert values(game)["pointing_game"] == expected


def test_an_object_that_a_crop_cuts_away_is_missed_and_not_skipped() -> None:
    game = PointingGame()
    batch = source_batch(MIDDLE, [(0.0, 0.0, 10.0, 10.0), (30.0, 0.0, 90.0, 60.0)], [2, 5])
    game.update(explanation_of(peak(25, 20)[None], [2]), batch)
    found = values(game)
    assert (found["pointing_game/misses"], found["pointing_game/skipped"]) == (1, 0)
    assert found["pointing_game/difficult"] == 0  # small in the source, with another class beside it


def test_pixels_of_the_input_are_said_to_be_so_once() -> None:
    rows = [(peak(12, 9), 2, [2], 0)]
    game = PointingGame(3)
    with pytest.warns(UserWarning, match=r"source_size and source_window.*tolerance of 3 counts pixels of the network"):
        take(game, rows)
    with warnings.catch_warnings(action="error"):
        take(game, rows)
        take(PointingGame(), rows)  # no pixels are counted


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
