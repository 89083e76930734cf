"""Sparseness and complexity as metrics: those of the aggregated map."""

import pytest
import torch

from tests.vitrine.metrics.test_row_means import explanation_of
from vitrine.core.batch import Batch
from vitrine.metrics import Complexity, Sparseness


def test_half_of_the_pixels() -> None:
    maps = torch.zeros(2, 4, 4)
    maps[:, :2] = torch.tensor([1.0, 8.0])[:, None, None]
    for metric, figure in ((Sparseness(), 0.5), (Complexity(), torch.tensor(8.0).log())):
        metric.update(explanation_of(maps, torch.tensor([0, 1])), Batch())
        found = metric.compute()
        assert float(found[type(metric).__name__.lower()]) == pytest.approx(float(figure))
        assert found[f"{type(metric).__name__.lower()}/degenerate"] == 0
