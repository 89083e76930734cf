"""Operators under LRP: those that keep their gradient, the stabiliser, and those without a rule."""

import pytest
import torch
import torch.nn.functional as F

from tests.helpers.lrp_relevance import random, relevance
from vitrine.attribution.lrp.composites import Composite
from vitrine.attribution.lrp.weighted_rules import Epsilon


def test_an_operator_without_a_rule_is_named() -> None:
    with pytest.raises(ValueError, match=r"LRP has no rule for torch\.\S*digamma"):
        relevance(torch.digamma, random(1, 3).abs() + 1, random(1, 3))


def test_sums_are_shared_in_proportion_and_stabilised() -> None:
    torch.manual_seed(0)
    x, of = random(2, 3, 4), random(2, 3)
    proportion = x / x.sum(dim=2, keepdim=True) * of[..., None]
    torch.testing.assert_close(relevance(lambda x: x.sum(dim=2), x, of), proportion)
    stable = Composite(Epsilon(0.0), Epsilon(0.0), stabiliser=0.1)
    sums = x.sum(dim=2, keepdim=True)
    expected = x / (sums + 0.1 * sums.sign()) * of[..., None]
    torch.testing.assert_close(relevance(lambda x: x.sum(dim=2), x, of, stable), expected)
    means = relevance(lambda x: F.avg_pool1d(x, 4).flatten(1), x, of)
    torch.testing.assert_close(means, proportion)
