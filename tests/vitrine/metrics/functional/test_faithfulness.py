"""Whether the decision is kept with an estimate in place of a logit: against a loop."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vitrine.metrics.functional import decision_kept

LOGITS = torch.tensor([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0]])


EXPLAINED = torch.tensor([0, 2])


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
