"""Metrics of several ranks: computed where one took in nothing, and kept in checkpoints as one state."""

import warnings

import pytest
import torch

from lightning_modules.evaluated import faithfulness_metrics
from lightning_modules.metric_states import computed, summed_state, take_over_state, was_updated
from tests.helpers.ranks import RankPool
from vitrine.metrics.alive_features import AliveFeatures


def test_what_was_updated_on_another_rank_is_computed_on_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = faithfulness_metrics("test")
    assert not was_updated(metrics)
    monkeypatch.setattr("lightning_modules.metric_states.sum_over_ranks", lambda count: count + 3)
    assert was_updated(metrics)


def test_computing_what_this_rank_took_nothing_in_for_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert computed(AliveFeatures(1, 2)).isnan().all()


def filled(rank: int) -> AliveFeatures:
    metric = AliveFeatures(num_heads=1, num_features=2)
    contributions = torch.tensor([[[1.0, -2.0]], [[3.0, 4.0]]]) * (rank + 1)
    metric.update(contributions, torch.ones(2, 1, dtype=torch.bool))
    return metric


def kept_and_taken_over(rank: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """The state for a checkpoint, and what is computed of it after a resume and another batch."""
    state, resumed = summed_state(filled(rank)), AliveFeatures(1, 2)
    resumed.update(torch.full((5, 1, 2), 99.0), torch.ones(5, 1, dtype=torch.bool))  # of before the resume: forgotten
    take_over_state(resumed, state)
    if rank == 1:
        resumed.update(torch.tensor([[[10.0, 10.0]]]), torch.ones(1, 1, dtype=torch.bool))
    return state, computed(resumed)


def test_the_state_of_all_ranks_goes_on_as_one() -> None:
    with RankPool(2) as pool:
        for state, mean in pool.run(kept_and_taken_over):
            assert state["total"].tolist() == [[4.0 + 8.0, 2.0 + 4.0]]
            assert state["positives"].tolist() == [4.0]
            assert mean.tolist() == [[22 / 5, 16 / 5]]


def test_a_state_of_other_sizes_is_left_to_the_check_of_the_weights() -> None:
    resumed = AliveFeatures(2, 3)
    take_over_state(resumed, summed_state(filled(0)))
    assert not was_updated(resumed)


def test_one_process_alone() -> None:
    resumed = AliveFeatures(1, 2)
    take_over_state(resumed, summed_state(filled(0)))
    assert torch.equal(resumed.compute(), filled(0).compute())
    assert was_updated(resumed)
