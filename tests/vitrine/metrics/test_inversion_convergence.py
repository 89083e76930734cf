"""Convergence of inversion masks: counts and means over batches and ranks."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.ranks import RankPool
from vitrine.attribution.inversion import InversionResult
from vitrine.metrics.inversion_convergence import InversionConvergence

MASKS = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
MASKS[3], MASKS[4, 0, 0, 0] = 0.5, torch.nan
LOSSES = torch.tensor([0.1, 0.3, torch.nan, 0.5, torch.inf])
STEPS = torch.tensor([40, 60, 0, 10, 20])
CONVERGED = torch.tensor([True, False, False, True, False])
EXPECTED = {"inversion/not_converged": 2, "inversion/degenerate": 2, "inversion/steps": 26, "inversion/loss": 0.3}


def result_of(rows: slice, **changes: Tensor) -> InversionResult:
    entries: dict[str, Any] = {
        "masks": MASKS[rows],
        "loss": LOSSES[rows],
        "steps": STEPS[rows],
        "converged": CONVERGED[rows],
    }
    return InversionResult(weights=torch.rand(len(MASKS[rows]), 3), **entries | changes)


def figures_of(*rows: slice) -> dict[str, float]:
    metric = InversionConvergence()
    for one in rows:
        metric.update(result_of(one))
    return {name: float(value) for name, value in metric.compute().items()}


def figures_on_rank(rank: int, cut: int) -> dict[str, float]:
    return figures_of(slice(0, cut)) if rank == 0 else figures_of(*[slice(cut, 5)][: 5 - cut])


def test_masks_without_steps_are_not_counted_nor_losses_that_are_no_numbers() -> None:
    assert figures_of(slice(0, 5)) == pytest.approx(EXPECTED)
    assert figures_of(slice(0, 2), slice(2, 5)) == pytest.approx(EXPECTED)


def test_without_a_finite_loss_there_is_none() -> None:
    assert set(figures_of(slice(2, 3))) == set(EXPECTED) - {"inversion/loss"}


@pytest.mark.parametrize("cut", [2, 5])
def test_two_ranks_equal_one_also_where_one_has_no_batch(ranks: RankPool, cut: int) -> None:
    assert ranks.run(figures_on_rank, cut) == [pytest.approx(EXPECTED)] * 2
