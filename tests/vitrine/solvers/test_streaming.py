"""Proximal Newton steps on a stream: the exact optimum and support in a few passes, whatever the batches and ranks."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.ranks import RankPool
from vitrine.solvers import StreamedMuLasso, StreamedSolution, solve_mu_lasso_rows

N, M, C = 300, 240, 4


def samples(condition: float = 1.0, dead: int = 0) -> tuple[Tensor, Tensor]:
    """(N, m) responses whose covariance has a condition number, and (N, C) labels of 10 of them."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(N, M, generator=generator, dtype=torch.float64)
    basis = torch.linalg.qr(torch.randn(M, M, generator=generator, dtype=torch.float64)).Q
    x = x @ (basis * torch.logspace(0, -torch.tensor(condition).log10().item() / 2, M, dtype=torch.float64)) @ basis.T
    x = x / x.std(dim=0)
    truth = torch.zeros(M, C, dtype=torch.float64)
    for index in range(C):
        truth[torch.randperm(M, generator=generator)[:10], index] = torch.randn(
            10, generator=generator, dtype=torch.float64
        )
    labels = x @ truth + torch.randn(N, C, generator=generator, dtype=torch.float64)
    x[:, :dead] = 0
    return x, labels


def passes(
    streamed: StreamedMuLasso, x: Tensor, labels: Tensor, most: int = 30, size: int = 50, **options: Any
) -> tuple[StreamedSolution, int]:
    """Passes until all has converged, and how many."""
    for done in range(1, most + 1):
        for rows in torch.randperm(len(x), generator=torch.Generator().manual_seed(done)).split(size):
            streamed.update(x[rows], labels[rows])
        solution = streamed.step(streamed.anchor, **options)
        if solution.converged.all():
            break
    return solution, done


@pytest.mark.parametrize("condition", [1.0, 1e4, 1e8])
@pytest.mark.parametrize("mu", [0.5, 3.0])
@pytest.mark.parametrize("size", [7, 300])
def test_a_few_passes_reach_the_exact_optimum_and_support(condition: float, mu: float, size: int) -> None:
    x, labels = samples(condition, dead=3)
    exact = solve_mu_lasso_rows(x, labels, mu, tol=1e-10)
    solution, done = passes(StreamedMuLasso(M, C, mu), x, labels, size=size, tol=1e-9)
    assert done <= 6
    assert torch.equal(solution.weights != 0, exact.weights != 0)
    torch.testing.assert_close(solution.weights, exact.weights, atol=1e-7, rtol=1e-6)
    assert bool((solution.relative_gap <= 1e-9).all())
    assert not solution.weights[:3].any()


def test_the_gap_bounds_what_is_left_and_the_objective_never_rises() -> None:
    x, labels = samples(1e4)
    best = solve_mu_lasso_rows(x, labels, 3.0, tol=1e-12).objective
    streamed, before = StreamedMuLasso(M, C, 3.0, working_set=60), labels.square().sum(dim=0)
    for _ in range(5):
        streamed.update(x, labels)
        solution = streamed.step(streamed.anchor, tol=1e-9)
        now = (x @ solution.weights - labels).square().sum(dim=0)
        assert bool((now <= before * (1 + 1e-9)).all())
        assert bool((now - best <= solution.relative_gap * now + 1e-9).all())
        before = now
    assert bool(solution.relative_gap.isfinite().all())


def test_the_working_set_has_room_for_so_many() -> None:
    x, labels = samples()
    for room, most in ((20, 20), (0, 0), (4096, M)):
        streamed = StreamedMuLasso(M, C, 1.0, working_set=room)
        for _ in range(3):
            streamed.update(x, labels)
            streamed.step(streamed.anchor, tol=1e-9)
            assert len(streamed.columns) <= most
            assert len(streamed.columns.unique()) == len(streamed.columns)
        assert (len(streamed.columns) > 0) == (room > 0)


def test_reference_and_gradient_are_those_of_the_mean_squared_error() -> None:
    x, labels = samples()
    streamed = StreamedMuLasso(M, C, 1.0, start=torch.full((M, C), 0.001))
    assert not streamed.has_gradient
    passes(streamed, x, labels, most=1)
    weights = torch.full((M, C), 0.001, dtype=torch.float64).float().double().requires_grad_()
    ((x @ weights - labels).square().sum() / N).backward()
    torch.testing.assert_close(streamed.gradient, weights.grad)
    torch.testing.assert_close(streamed.scores(x), x @ weights.detach())


def test_first_order_steps_alone_are_taken_as_they_are_and_certified_where_they_are_optimal() -> None:
    x, labels = samples()
    best = solve_mu_lasso_rows(x, labels, 0.5, tol=1e-12).weights
    streamed = StreamedMuLasso(M, C, 0.5, working_set=0)
    streamed.update(x, labels)
    taken = streamed.step(best, tol=1e-6)
    assert torch.equal(taken.weights, best)
    assert not taken.converged.any()
    assert bool(taken.relative_gap.isinf().all())
    streamed.update(x, labels)
    certified = streamed.step(torch.zeros(M, C), tol=1e-6)
    assert bool(certified.converged.all())
    assert torch.equal(certified.weights, best)


def test_labels_that_are_all_zero_need_no_filter() -> None:
    x, labels = samples()
    labels[:, 1] = 0
    solution, _ = passes(StreamedMuLasso(M, C, 0.5), x, labels)
    assert not solution.weights[:, 1].any()
    assert bool(solution.converged.all())


def test_a_pass_goes_on_from_its_state() -> None:
    x, labels = samples(1e4)
    whole, stopped = StreamedMuLasso(M, C, 2.0), StreamedMuLasso(M, C, 2.0)
    for streamed in (whole, stopped):
        passes(streamed, x, labels, most=2)
        streamed.update(x[:120], labels[:120])
    resumed = StreamedMuLasso(M, C, 2.0)
    resumed.load(stopped.state())
    for streamed in (whole, resumed):
        streamed.update(x[120:], labels[120:])
    first, second = whole.step(whole.anchor), resumed.step(resumed.anchor)
    assert torch.equal(first.weights, second.weights)
    assert torch.equal(whole.columns, resumed.columns)
    assert torch.equal(whole.gradient, resumed.gradient)


def share_of(rank: int, ranks: int) -> Tensor:
    """Weights after three passes, of which one is stopped and resumed, on shares that are not equal."""
    x, labels = samples(1e4)
    rows = torch.arange(N) % 3 > 0 if rank else torch.arange(N) % 3 == 0
    x, labels = (x[rows], labels[rows]) if ranks > 1 else (x, labels)
    streamed = StreamedMuLasso(M, C, 2.0)
    for _ in range(3):
        streamed.update(x[:60], labels[:60])
        resumed = StreamedMuLasso(M, C, 2.0)
        resumed.load(streamed.state())
        streamed = resumed
        streamed.update(x[60:], labels[60:])
        solution = streamed.step(streamed.anchor)
    return solution.weights


def test_two_ranks_equal_one(ranks: RankPool) -> None:
    one, both = share_of(0, 1), ranks.run(share_of, 2)
    assert torch.equal(both[0], both[1])
    torch.testing.assert_close(both[0], one, atol=1e-8, rtol=1e-6)
    assert torch.equal(both[0] != 0, one != 0)
