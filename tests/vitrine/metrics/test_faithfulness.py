"""F_reg and F_cls by hand."""

import pickle

import pytest
import torch

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
