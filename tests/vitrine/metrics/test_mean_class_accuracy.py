"""Mean class accuracy by hand and against torchmetrics."""

import pickle

import pytest
import torch
from torchmetrics.classification import MulticlassAccuracy

from vitrine.metrics import MeanClassAccuracy

LOGITS = torch.eye(4)[[0, 0, 1, 2, 2, 3]]  # what is predicted
LABELS = torch.tensor([0, 0, 0, 2, 3, 3])


def test_each_class_that_has_an_image_weighs_the_same() -> None:
    metric = MeanClassAccuracy()
    metric.update(LOGITS, LABELS)
    assert float(metric.compute()) == pytest.approx((2 / 3 + 1 / 1 + 1 / 2) / 3)


def test_it_is_torchmetrics_macro_average_where_all_classes_have_images() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(200, 5, generator=generator), torch.randint(0, 5, (200,), generator=generator)
    logits[torch.arange(200), labels] += 1
    metric, other = MeanClassAccuracy(), MulticlassAccuracy(5, average="macro")
    for part in range(0, 200, 30):
        metric.update(logits[part : part + 30], labels[part : part + 30])
        other.update(logits[part : part + 30], labels[part : part + 30])
    assert float(metric.compute()) == pytest.approx(float(other.compute()))


@pytest.mark.parametrize("cut", range(1, 6))
def test_two_halves_merge_into_the_whole(cut: int) -> None:
    halves = [MeanClassAccuracy(), MeanClassAccuracy()]
    halves[0].update(LOGITS[:cut], LABELS[:cut])
    halves[1].update(LOGITS[cut:], LABELS[cut:])
    halves[0].merge_state(pickle.loads(pickle.dumps(halves[1])))
    assert float(halves[0].compute()) == pytest.approx((2 / 3 + 1 / 1 + 1 / 2) / 3)


def test_several_classes_an_image() -> None:
    with pytest.raises(ValueError, match=r"needs one class an image, got labels of shape \(6, 4\)"):
        MeanClassAccuracy().update(LOGITS, torch.ones(6, 4))


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_nothing_taken_in_is_not_a_number() -> None:
    assert MeanClassAccuracy().compute().isnan()
