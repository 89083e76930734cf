"""Salient object detection as a metric: means over images, counts, and ranks."""

import math
import pickle

import pytest
import torch
from torch import Tensor

from tests.helpers.ranks import RankPool
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.metrics import METRICS_BY_ANNOTATION, SaliencyDetection
from vitrine.metrics.functional import saliency_curves, saliency_scores


def explanation_of(maps: Tensor) -> Explanation:
    count, zeros = len(maps), torch.zeros(len(maps), dtype=torch.int64)
    return Explanation(maps[:, None], torch.ones(count, 1), [["map"]] * count, zeros, zeros, torch.zeros(count, 2))


def made(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(10, 12, generator=generator) < 0.3
    return (torch.rand(10, 12, generator=generator) + mask) ** 2, mask


GOOD = [made(seed) for seed in range(4)]


ROWS = [
    *GOOD,
    (torch.zeros(10, 12), GOOD[0][1]),
    (torch.full((10, 12), torch.nan), GOOD[1][1]),
    (GOOD[2][0], torch.zeros(10, 12, dtype=torch.bool)),
    (torch.zeros(10, 12), torch.zeros(10, 12, dtype=torch.bool)),
]


def take(metric: SaliencyDetection, rows: list[tuple[Tensor, Tensor]]) -> SaliencyDetection:
    maps, masks = (torch.stack(list(column)) for column in zip(*rows, strict=True))
    metric.update(explanation_of(maps), Batch(mask=masks[:, None].byte()))
    return metric


def values(metric: SaliencyDetection) -> dict[str, float]:
    return {name: float(value) for name, value in metric.compute().items()}


def expected() -> dict[str, float]:
    """Means over six images, two of them of the worst scores."""
    found = torch.tensor([list(saliency_scores(map_, mask)) for map_, mask in GOOD]).double()
    precision, recall, f, mae = (found.sum(dim=0) + torch.tensor([0, 0, 0, 2])) / 6
    curve = torch.stack([saliency_curves(map_, mask).f for map_, mask in GOOD]).sum(dim=0) / 6
    return {
        "saliency/precision": float(precision),
        "saliency/recall": float(recall),
        "saliency/f": float(f),
        "saliency/mae": float(mae),
        "saliency/max_f": float(curve.max()),
        "saliency/mean_f": float(curve.mean()),
        "saliency/degenerate": 2.0,
        "saliency/skipped": 2.0,
    }


def test_means_over_images_and_counts() -> None:
    found = values(take(SaliencyDetection(), ROWS))
    assert found == pytest.approx(expected(), rel=1e-5)
    assert 0 < found["saliency/f"] < found["saliency/max_f"] < 4 / 6


@pytest.mark.parametrize("cut", [1, 4, 6, 7])
def test_two_updates_and_two_ranks_equal_one(cut: int) -> None:
    assert values(take(take(SaliencyDetection(), ROWS[:cut]), ROWS[cut:])) == pytest.approx(expected(), rel=1e-5)
    ranks = [take(SaliencyDetection(), part) for part in (ROWS[:cut], ROWS[cut:])]
    ranks[0].merge_state(ranks[1])
    assert values(ranks[0]) == pytest.approx(expected(), rel=1e-5)


def values_after_each_cut(rank: int) -> list[dict[str, float]]:
    """Figures of two metrics: of the first, both ranks have taken rows; of the second, rank 0 has taken all."""
    found = []
    for cut in (3, len(ROWS)):
        part = ROWS[cut:] if rank else ROWS[:cut]
        found.append(values(take(SaliencyDetection(), part) if part else SaliencyDetection()))
    return found


def test_two_processes_equal_one_also_where_one_has_no_batch(ranks: RankPool) -> None:
    assert ranks.run(values_after_each_cut) == [[pytest.approx(expected(), rel=1e-5)] * 2] * 2


def test_states_survive_pickling_and_are_forgotten_on_reset() -> None:
    metric = take(SaliencyDetection(), ROWS)
    again = pickle.loads(pickle.dumps(metric))
    assert values(again) == values(metric)
    metric.reset()
    assert values(take(metric, ROWS)) == values(again)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_nothing_taken_in_is_not_a_number() -> None:
    for metric in (SaliencyDetection(), take(SaliencyDetection(), ROWS[-2:])):
        found = values(metric)
        assert all(
            math.isnan(value) for name, value in found.items() if name.split("/")[1] not in {"degenerate", "skipped"}
        )


def test_sets_with_masks_have_it() -> None:
    assert SaliencyDetection in METRICS_BY_ANNOTATION["mask"]
