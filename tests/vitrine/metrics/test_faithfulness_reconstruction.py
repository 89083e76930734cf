"""Areas under ROC curves against scikit-learn, in closed form, and over ranks."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.helpers.ranks import RankPool
from vitrine.metrics import ClassReconstruction
from vitrine.metrics.faithfulness import area_under_roc


def values(metric: ClassReconstruction) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return {name: float(value) for name, value in metric.compute().items()}


def data(images: int = 60, classes: int = 7) -> tuple[Tensor, Tensor]:
    """Scores, many of them tied and beyond 0 … 1, and labels of which class 3 has none."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, classes - 1, (images,), generator=generator)
    labels[labels >= 3] += 1
    scores = (3 * torch.randn(images, classes, generator=generator)).round()
    scores[torch.arange(images), labels] += 2
    return scores, labels


def outside(scores: Tensor, hot: Tensor) -> float:
    """scikit-learn's mean over the classes that have positives and negatives."""
    from sklearn.metrics import roc_auc_score

    columns = [c for c in range(hot.shape[1]) if 0 < int(hot[:, c].sum()) < len(hot)]
    return float(np.mean([roc_auc_score(hot[:, c].numpy(), scores[:, c].double().numpy()) for c in columns]))


def take(metric: ClassReconstruction, start: int, stop: int) -> ClassReconstruction:
    scores, labels = data()
    metric.update(scores[start:stop], labels[start:stop])
    return metric


def expected_values() -> dict[str, float]:
    scores, labels = data()
    hot = torch.nn.functional.one_hot(labels, scores.shape[1])
    return {"reconstruction_auc": outside(scores, hot), "reconstruction_auc/skipped_classes": 1.0}


@given(
    scores=st.lists(st.one_of(st.integers(-3, 3), st.floats(-(2.0**100), 2.0**100, width=32)), min_size=2, max_size=20),
    seed=st.integers(0, 99),
)
def test_one_class_is_that_of_scikit_learn(scores: list[float], seed: int) -> None:
    from sklearn.metrics import roc_auc_score

    positive = torch.rand(len(scores), generator=torch.Generator().manual_seed(seed)) < 0.5
    positive[0], positive[1] = True, False
    found = float(area_under_roc(torch.tensor(scores).float(), positive))
    assert found == pytest.approx(roc_auc_score(positive.numpy(), torch.tensor(scores).float().numpy()), abs=1e-6)


def test_scores_beyond_the_reach_of_a_sigmoid_are_told_apart() -> None:
    """In float32 the sigmoid of 60 and of 50 is 1: sent through it they would tie."""
    assert float(area_under_roc(torch.tensor([60.0, 50.0, -200.0]), torch.tensor([1, 0, 1]))) == 0.5
    assert float(area_under_roc(torch.tensor([60.0, 50.0, 49.0]), torch.tensor([1, 0, 0]))) == 1


def test_one_class_an_image() -> None:
    assert values(take(ClassReconstruction(7), 0, 60)) == pytest.approx(expected_values())


def test_several_classes_an_image() -> None:
    scores, _ = data()
    hot = (torch.rand(60, 7, generator=torch.Generator().manual_seed(3)) < 0.4).float()
    hot[:, 2], hot[:, 5] = 1, 0
    metric = ClassReconstruction(7)
    metric.update(scores, hot)
    assert values(metric) == pytest.approx(
        {"reconstruction_auc": outside(scores, hot), "reconstruction_auc/skipped_classes": 2.0}
    )


def test_batches_whose_scores_happen_to_be_probabilities_do_not_matter() -> None:
    scores = torch.tensor([[0.1, 0.9], [0.2, 0.3], [0.4, -5.0], [7.0, 0.5]])
    labels = torch.tensor([1, 0, 0, 0])
    metric = ClassReconstruction(2)
    metric.update(scores[:2], labels[:2])
    metric.update(scores[2:], labels[2:])
    hot = torch.nn.functional.one_hot(labels, 2)
    assert values(metric)["reconstruction_auc"] == pytest.approx(outside(scores, hot))


def test_a_perfect_reconstruction_a_reversed_one_and_a_constant_one() -> None:
    labels = torch.arange(6) % 3
    hot = torch.nn.functional.one_hot(labels, 3).float()
    for scores, expected in ((hot, 1.0), (-hot, 0.0), (0 * hot, 0.5)):
        metric = ClassReconstruction(3)
        metric.update(scores, labels)
        assert values(metric) == {"reconstruction_auc": expected, "reconstruction_auc/skipped_classes": 0.0}


def test_a_score_that_is_not_a_number_is_not_taken_for_a_high_one() -> None:
    scores, labels = data()
    scores[4, 1] = torch.nan
    metric = ClassReconstruction(7)
    metric.update(scores, labels)
    assert np.isnan(values(metric)["reconstruction_auc"])


def test_scores_in_half_precision_on_which_gradients_rest() -> None:
    scores, labels = data()
    metric = ClassReconstruction(7)
    metric.update(scores.bfloat16().requires_grad_(), labels)
    assert values(metric) == pytest.approx(expected_values())
    assert not metric.compute()["reconstruction_auc"].requires_grad


@pytest.mark.parametrize("cut", [1, 20, 59])
def test_two_updates_and_two_ranks_equal_one(cut: int) -> None:
    assert values(take(take(ClassReconstruction(7), 0, cut), cut, 60)) == pytest.approx(expected_values())
    ranks = [take(ClassReconstruction(7), 0, cut), take(ClassReconstruction(7), cut, 60)]
    ranks[0].merge_state(ranks[1])
    assert values(ranks[0]) == pytest.approx(expected_values())


def test_states_survive_pickling() -> None:
    metric = take(ClassReconstruction(7), 0, 60)
    assert values(pickle.loads(pickle.dumps(metric))) == values(metric)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_nothing_taken_in_is_not_a_number() -> None:
    found = ClassReconstruction(4).compute()
    assert found["reconstruction_auc"].isnan()
    assert found["reconstruction_auc/skipped_classes"] == 4


def values_after_each_cut(rank: int) -> list[dict[str, float]]:
    """Figures of two metrics: of the first, both ranks have taken rows; of the second, rank 0 has taken all."""
    found = []
    for cut in (7, 60):
        metric, start, stop = ClassReconstruction(7), *((cut, 60) if rank else (0, cut))
        computed = (take(metric, start, stop) if start < stop else metric).compute()
        found.append({name: float(value) for name, value in computed.items()})
    return found


def test_two_processes_equal_one_also_where_one_has_no_batch(ranks: RankPool) -> None:
    assert ranks.run(values_after_each_cut) == [[pytest.approx(expected_values())] * 2] * 2
