"""The μ-Lasso's sums: any batches, any number of ranks, and scaling afterwards as if it had been done before."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.ranks import RankPool
from vitrine.solvers import MuLassoSums, solve_mu_lasso, solve_mu_lasso_rows

SUMS = ("gram", "cross", "label_sq", "total", "label_total")


def sums_of(x: Tensor, labels: Tensor, *sizes: int) -> MuLassoSums:
    sums = MuLassoSums(x.shape[1], labels.shape[1])
    for rows in torch.arange(len(x)).split(list(sizes) or len(x)):
        sums.update(x[rows], labels[rows])
    return sums


def assert_equal(sums: MuLassoSums, others: MuLassoSums) -> None:
    assert sums.n_samples == others.n_samples
    for name in SUMS:
        torch.testing.assert_close(getattr(sums, name), getattr(others, name), msg=name)


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(12, 5, generator=generator), torch.randint(2, (12, 3), generator=generator)


def test_sums_are_what_their_names_say() -> None:
    x, labels = data()
    sums = sums_of(x, labels, 5, 1, 6)
    x, labels = x.double(), labels.double()
    torch.testing.assert_close(sums.gram, x.T @ x)
    torch.testing.assert_close(sums.cross, x.T @ labels)
    torch.testing.assert_close(sums.label_sq, (labels**2).sum(dim=0))
    torch.testing.assert_close(sums.total, x.sum(dim=0))
    torch.testing.assert_close(sums.label_total, labels.sum(dim=0))
    assert sums.n_samples == 12


@pytest.mark.parametrize("centre", [False, True])
def test_scaled_sums_are_those_of_scaled_data(centre: bool) -> None:
    x, labels = (tensor.double() for tensor in data())
    shift, factor = torch.linspace(-1, 2, 5), torch.tensor([2.0, 0, 1, -3, 0.5])
    moved = labels - labels.mean(dim=0) if centre else labels
    scaled = sums_of(x, labels).scaled(shift, factor, centre=centre)
    assert_equal(scaled, sums_of((x - shift) * factor, moved))
    again = scaled.scaled(torch.ones(5), torch.full((5,), 2.0), centre=False)
    assert_equal(again, sums_of(((x - shift) * factor - 1) * 2, moved))


def test_a_standardised_problem_has_its_intercept(make_responses: Callable[..., tuple[Tensor, Tensor]]) -> None:
    x, labels = make_responses(80, 30, 3)
    mean, std = x.mean(dim=0), x.std(dim=0, correction=0)
    factor = torch.where(std > 1e-9, 1 / std, 0.0)
    sums = sums_of(x, labels).scaled(mean, factor, centre=True)
    found = solve_mu_lasso(sums.gram, sums.cross, sums.label_sq, 0.5)
    expected = solve_mu_lasso_rows((x - mean) * factor, labels - labels.mean(dim=0), 0.5)
    torch.testing.assert_close(found.objective, expected.objective, rtol=1e-6, atol=0)
    assert found.converged.all()
    intercept = labels.mean(dim=0) - mean @ (factor[:, None] * found.weights)
    residual = x @ (factor[:, None] * found.weights) + intercept - labels
    torch.testing.assert_close((residual**2).sum(dim=0), found.objective)


def test_sums_go_on_from_a_checkpoint() -> None:
    x, labels = data()
    first = sums_of(x[:5], labels[:5], 3, 2)
    second = MuLassoSums(5, 3)
    second.load(first.state())
    for sums in (first, second):
        sums.update(x[5:], labels[5:])
    assert_equal(second, sums_of(x, labels))
    for name in SUMS:
        assert torch.equal(getattr(first, name), getattr(second, name)), name
    with pytest.raises(ValueError, match=r"of \(5, 3\) filters and classes, and not of \(4, 3\)"):
        MuLassoSums(4, 3).load(first.state())


def state_on_rank(rank: int) -> tuple[Tensor, int]:
    x, labels = data()
    own = slice(0, 4) if rank == 0 else slice(4, 9)
    state = sums_of(x[own], labels[own]).state()
    assert bool(state) == (rank == 0)
    again = MuLassoSums(5, 3)
    again.load(state if rank == 0 else {"_by_class": torch.zeros(3, 5)})
    if rank == 1:
        again.update(x[9:], labels[9:])
    merged = again.sum_over_ranks_()
    return merged.gram, merged.n_samples


def test_ranks_go_on_from_one_checkpoint(ranks: RankPool) -> None:
    expected = sums_of(*data())
    for gram, count in ranks.run(state_on_rank):
        assert count == 12
        torch.testing.assert_close(gram, expected.gram)


def sums_on_rank(rank: int) -> dict[str, Any]:
    x, labels = data()
    own = slice(0, 4) if rank == 0 else slice(4, 12)
    sums = sums_of(x[own], labels[own])
    merged, again = sums.over_ranks(), sums.over_ranks()
    assert_equal(merged, again)
    assert sums.n_samples == len(x[own])
    return {name: getattr(merged, name) for name in (*SUMS, "n_samples")}


def test_two_ranks_with_uneven_shares_equal_one(ranks: RankPool) -> None:
    alone = sums_of(*data()).over_ranks()
    for found in ranks.run(sums_on_rank):
        assert found.pop("n_samples") == alone.n_samples == 12
        for name, tensor in found.items():
            torch.testing.assert_close(tensor, getattr(alone, name), msg=name)


def test_the_sums_over_one_rank_are_a_copy() -> None:
    sums = sums_of(*data())
    merged = sums.over_ranks()
    merged.update(*data())
    assert (sums.n_samples, merged.n_samples) == (12, 24)
    assert_equal(sums, sums_of(*data()))


@pytest.mark.parametrize(
    ("x", "labels", "message"),
    [
        (torch.ones(2, 4), torch.ones(2, 3), r"\(2, 4\) and \(2, 3\); give \(B, 5\) and \(B, 3\)"),
        (torch.ones(2, 5), torch.ones(3, 3), r"\(2, 5\) and \(3, 3\); give"),
        (torch.ones(2, 5), torch.ones(2), r"\(2, 5\) and \(2,\); give"),
        (torch.full((2, 5), torch.nan), torch.ones(2, 3), "NaN or infinity"),
        (torch.ones(2, 5), torch.full((2, 3), torch.inf), "NaN or infinity"),
    ],
)
def test_a_batch_that_does_not_fit_changes_nothing(x: Tensor, labels: Tensor, message: str) -> None:
    sums = sums_of(*data())
    with pytest.raises(ValueError, match=message):
        sums.update(x, labels)
    assert_equal(sums, sums_of(*data()))


def test_scaling_asks_for_a_number_a_filter() -> None:
    with pytest.raises(ValueError, match=r"factor is of shape \(4,\); give \(5,\)"):
        sums_of(*data()).scaled(torch.zeros(5), torch.ones(4), centre=False)
    with pytest.raises(ValueError, match="no sums to scale"):
        MuLassoSums(5, 3).scaled(torch.zeros(5), torch.ones(5), centre=True)
