"""The base of metrics: sums and records over batches, boxes of a class, and a classifier that a metric does not own."""

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.ranks import RankPool
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.metrics.base import (
    ExplanationMetric,
    PerFeatureMetric,
    SharedClassifier,
    boxes_of_classes,
    heatmaps_by_image,
)


def explanation_of(maps: Tensor, targets: list[int]) -> Explanation:
    batch, count = maps.shape[:2]
    classes = torch.tensor(targets, dtype=torch.int64)
    labels = [[f"x-feature {number}" for number in range(count)]] * batch
    return Explanation(maps, torch.ones(batch, count), labels, classes, classes, torch.zeros(batch, 9))


class Count(ExplanationMetric):
    """Counts images."""

    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_sum("count")

    def update(self, explanation: Explanation, batch: Batch) -> None:  # noqa: ARG002
        self.count += len(explanation.target)

    def compute(self) -> dict[str, Tensor]:
        return {"count": self.count}


class Maxima(PerFeatureMetric):
    """A record of the maximum of each heatmap."""

    def update(self, explanation: Explanation, batch: Batch) -> None:  # noqa: ARG002
        self.records.append(explanation.heatmaps.amax(dim=(2, 3)).double().flatten())

    def compute(self) -> dict[str, Tensor]:
        return {"sum": self.flat_records().sum(), "count": torch.tensor(len(self.flat_records()))}


MAPS = torch.rand(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))


def figures_on_rank(rank: int, cut: int) -> dict[str, float]:
    metrics: list[Any] = [Count(), Maxima()]
    rows = slice(0, cut) if rank == 0 else slice(cut, 3)
    for metric in metrics:
        if len(MAPS[rows]):
            metric.update(explanation_of(MAPS[rows], [0] * len(MAPS[rows])), Batch())
    return {name: float(value) for metric in metrics for name, value in metric.compute().items()}


@pytest.mark.parametrize("cut", [1, 3])
def test_two_ranks_equal_one_also_where_one_has_no_batch(ranks: RankPool, cut: int) -> None:
    whole = figures_on_rank(0, 3)
    assert whole["count"] == 6  # of the records, which come last
    assert whole["sum"] == pytest.approx(float(MAPS.amax(dim=(2, 3)).double().sum()))
    assert ranks.run(figures_on_rank, cut) == [pytest.approx(whole)] * 2


def test_without_a_batch_there_is_no_record() -> None:
    assert Maxima().flat_records().tolist() == []
    assert Maxima().flat_records().dtype == torch.float64


def test_images_one_by_one() -> None:
    images = list(heatmaps_by_image(explanation_of(MAPS, [5, 6, 7])))
    assert [(image, label) for image, label, _, _ in images] == [(0, 5), (1, 6), (2, 7)]
    for image, _, maps, valid in images:
        assert torch.equal(maps, MAPS[image])
        assert valid.all()


def test_boxes_of_the_explained_class() -> None:
    boxes = [torch.tensor([[0.0, 0, 1, 1], [2, 2, 3, 3]]), torch.zeros(0, 4)]
    labels = [torch.tensor([4, 7]), torch.zeros(0, dtype=torch.int64)]
    chosen = boxes_of_classes(Batch(boxes=boxes, box_labels=labels), torch.tensor([7, 4]))
    assert [box.tolist() for box in chosen] == [[[2, 2, 3, 3]], []]
    assert boxes_of_classes(Batch(boxes=boxes), torch.tensor([7, 4])) == boxes


def test_a_classifier_runs_in_eval_mode_without_gradients() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(12, 2)).train()
    shared = SharedClassifier(network, "Insertion")
    images = torch.ones(2, 3, 2, 2)
    logits = shared(images)
    assert torch.equal(logits, shared(images))
    assert not logits.requires_grad
    assert network.training
    assert SharedClassifier(lambda x: x.sum(dim=(2, 3)), "Insertion")(images).tolist() == [[4, 4, 4]] * 2


def test_copies_share_a_classifier_and_pickles_have_none() -> None:
    shared = SharedClassifier(nn.Flatten(), "Insertion")
    assert copy.deepcopy(shared) is shared
    again = pickle.loads(pickle.dumps(shared))
    with pytest.raises(ValueError, match="A pickled Insertion has no network any more"):
        again(torch.ones(1, 3, 2, 2))
