"""F_reg and F_cls by hand."""

import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vitrine.metrics import ClassificationFaithfulness, RegressionFaithfulness
from vitrine.metrics.functional import absolute_difference, decision_kept

LOGITS = torch.tensor([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0]])
EXPLAINED = torch.tensor([0, 2])
ESTIMATES = torch.tensor([[2.5, 4.0], [1.0, 1.5]])


def test_regression_faithfulness() -> None:
    torch.testing.assert_close(
        absolute_difference(ESTIMATES, LOGITS, EXPLAINED), torch.tensor([[0.5, 4.0], [1.0, 0.5]])
    )
    metric = RegressionFaithfulness()
    metric.update(ESTIMATES[:1], LOGITS[:1], EXPLAINED)
    metric.update(ESTIMATES[1:], LOGITS[1:], EXPLAINED)
    assert float(metric.compute()) == pytest.approx(6 / 4)


def test_each_logit_is_replaced_alone() -> None:
    # Image 0: 2.5 for class 0 keeps it first; 4.0 for class 2 overtakes. Image 1: neither reaches class 1's 2.0.
    expected = torch.tensor([[True, False], [True, True]])
    torch.testing.assert_close(decision_kept(ESTIMATES, LOGITS, EXPLAINED), expected)
    metric = ClassificationFaithfulness()
    metric.update(ESTIMATES, LOGITS, EXPLAINED)
    assert float(metric.compute()) == pytest.approx(3 / 4)


def one_by_one(estimates: Tensor, logits: Tensor, explained: Tensor) -> Tensor:
    """F_cls as the paper defines it: each logit is replaced, and the highest one looked for anew."""
    kept = torch.zeros(estimates.shape, dtype=torch.bool)
    for image, row in enumerate(logits):
        for column, index in enumerate(explained.tolist()):
            replaced = row.clone()
            replaced[index] = estimates[image, column]
            kept[image, column] = replaced.argmax() == row.argmax()
    return kept


@given(st.data())
def test_the_decision_is_kept_where_replacing_one_logit_after_another_keeps_it(data: st.DataObject) -> None:
    # Few values, so that many are equal.
    values = st.sampled_from([-torch.inf, -1.0, 0.0, 0.5, 1.0, torch.inf])
    images, classes = data.draw(st.integers(0, 4)), data.draw(st.integers(1, 5))
    explained = data.draw(st.permutations(range(classes)))[: data.draw(st.integers(1, classes))]
    logits = torch.tensor([data.draw(values) for _ in range(images * classes)]).reshape(images, classes)
    estimates = torch.tensor([data.draw(values) for _ in range(images * len(explained))])
    arguments = (estimates.reshape(images, len(explained)), logits, torch.tensor(explained))
    torch.testing.assert_close(decision_kept(*arguments), one_by_one(*arguments))


def test_many_classes_are_judged_as_one_by_one() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(64, 50, generator=generator)
    explained = torch.randperm(50, generator=generator)[:40]
    estimates = logits[:, explained] + 2 * torch.randn(64, 40, generator=generator)
    kept = decision_kept(estimates, logits, explained)
    torch.testing.assert_close(kept, one_by_one(estimates, logits, explained))
    assert 0.02 < 1 - kept.float().mean() < 0.98


def test_an_estimate_that_is_not_a_number_keeps_nothing() -> None:
    assert not decision_kept(torch.full((2, 2), torch.nan), LOGITS, EXPLAINED).any()


def test_inputs_stay_as_they_are_and_states_survive_pickling() -> None:
    logits = LOGITS.clone()
    metric = ClassificationFaithfulness()
    metric.update(ESTIMATES, logits, EXPLAINED)
    torch.testing.assert_close(logits, LOGITS)
    again = pickle.loads(pickle.dumps(metric))
    assert float(again.compute()) == float(metric.compute())


def test_two_halves_merge_into_the_whole() -> None:
    halves = [RegressionFaithfulness(), RegressionFaithfulness()]
    halves[0].update(ESTIMATES[:1], LOGITS[:1], EXPLAINED)
    halves[1].update(ESTIMATES[1:], LOGITS[1:], EXPLAINED)
    halves[0].merge_state(halves[1])
    assert float(halves[0].compute()) == pytest.approx(6 / 4)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_nothing_taken_in_is_not_a_number() -> None:
    assert RegressionFaithfulness().compute().isnan()
