"""Counting live x-features."""

import torch

from vitrine.metrics.alive_features import AliveFeatures, alive_counts, dead_heads


def test_only_positives_of_the_own_class_count() -> None:
    metric = AliveFeatures(num_heads=2, num_features=2)
    contributions = torch.tensor([[[1.0, -1.0], [9.0, 9.0]], [[3.0, 0.5], [1.0, 2.0]]])
    positive = torch.tensor([[True, False], [True, True]])
    metric.update(contributions, positive)
    means = metric.compute()
    torch.testing.assert_close(means, torch.tensor([[2.0, -0.25], [1.0, 2.0]], dtype=torch.float64))
    assert alive_counts(means).tolist() == [1, 2]
    assert dead_heads(means) == [0]


def test_a_class_without_positives_is_not_judged() -> None:
    metric = AliveFeatures(num_heads=1, num_features=2)
    metric.update(torch.zeros(3, 1, 2), torch.zeros(3, 1, dtype=torch.bool))
    assert dead_heads(metric.compute()) == []
