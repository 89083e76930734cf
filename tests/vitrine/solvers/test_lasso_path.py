"""What is known of the path: a smaller μ is read off, a larger one goes on, and either is what a fresh solve gives."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vitrine.solvers import solve_mu_lasso_rows
from vitrine.solvers.homotopy import Homotopy, first_knot
from vitrine.solvers.lasso_path import LassoPath
from vitrine.solvers.least_squares import DataLeastSquares, GramLeastSquares

Make = Callable[..., tuple[Tensor, Tensor]]
MUS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)


@pytest.fixture(params=["gaussian", "responses"])
def make(request: pytest.FixtureRequest, make_gaussian: Make, make_responses: Make) -> Make:
    return make_gaussian if request.param == "gaussian" else make_responses


@pytest.mark.parametrize("order", ["falling", "rising", "mixed"])
def test_another_mu_is_what_a_fresh_solve_gives(make: Make, order: str) -> None:
    x, labels = make(80, 150, 3)
    mus = {"falling": MUS[::-1], "rising": MUS, "mixed": (10.0, 1.0, 100.0, 2.0, 50.0, 0.5, 20.0, 5.0)}[order]
    solution = solve_mu_lasso_rows(x, labels, mus[0], 1e-9)
    for mu in mus:
        solution, fresh = solution.at(mu), solve_mu_lasso_rows(x, labels, mu, 1e-9)
        assert solution.tol == 1e-9
        assert torch.equal(solution.converged, fresh.converged)
        torch.testing.assert_close(solution.objective, fresh.objective, rtol=1e-8, atol=1e-12)
        assert (solution.weights.abs().sum(dim=0) <= mu * (1 + 1e-12)).all()


def test_the_objective_falls_with_mu_and_is_convex_in_it(make: Make) -> None:
    x, labels = make(80, 60, 3)
    mus = torch.linspace(0.1, 12, 60)
    solution = solve_mu_lasso_rows(x, labels, 12.0)
    objectives = torch.stack([solution.at(float(mu)).objective for mu in mus])
    falls = objectives.diff(dim=0)
    assert (falls <= 1e-9 * objectives[0]).all()
    assert (falls.diff(dim=0) >= -1e-9 * objectives[0]).all()


def test_each_class_may_have_another_mu(make: Make) -> None:
    x, labels = make(80, 60, 3)
    solution = solve_mu_lasso_rows(x, labels, [1.0, 10.0, 3.0]).at(torch.tensor([8.0, 2.0, 3.0]))
    torch.testing.assert_close(
        solution.objective, solve_mu_lasso_rows(x, labels, solution.mu).objective, rtol=1e-6, atol=0
    )


def test_a_smaller_mu_takes_no_step(make_responses: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    solution = solve_mu_lasso_rows(*make_responses(200, 80, 3), 20.0)
    monkeypatch.setattr(Homotopy, "step", refused)
    monkeypatch.setattr(DataLeastSquares, "gram_blocks", refused)
    assert solution.at(20.0).converged.all()
    for mu in (1.0, 3.3, 12.0):
        assert solution.at(mu).converged.all()


def refused(*_args: object) -> None:
    pytest.fail("work was done anew")


def test_a_larger_mu_goes_on_where_the_path_ended(make_responses: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = list(steps_of(monkeypatch, make_responses(200, 80, 3), [20.0, 22.0]))
    fresh = list(steps_of(monkeypatch, make_responses(200, 80, 3), [22.0]))
    assert counted[1] < 0.3 * counted[0]
    assert sum(counted) == pytest.approx(fresh[0], abs=3)  # a fresh solve takes the same way


def steps_of(monkeypatch: pytest.MonkeyPatch, problem: tuple[Tensor, Tensor], mus: list[float]) -> Iterator[int]:
    """Steps of the homotopy for one μ after another."""
    counts = [0]
    step = Homotopy.step

    def counting(self: Homotopy) -> None:
        counts[-1] += 1
        step(self)

    with monkeypatch.context() as patch:
        patch.setattr(Homotopy, "step", counting)
        solution = solve_mu_lasso_rows(*problem, mus[0])
        for mu in mus[1:]:
            counts.append(0)
            solution = solution.at(mu)
    yield from counts


# One class


def path_of(x: Tensor, labels: Tensor, columns: Any = slice(None)) -> LassoPath:
    gram, cross = (x.T @ x).numpy(), (x.T @ labels[:, 0]).numpy()
    kept = np.arange(x.shape[1])[columns]
    return LassoPath(kept, gram[np.ix_(kept, kept)], cross[kept], float((labels[:, 0] ** 2).sum()))


def gaps(path: LassoPath) -> list[float]:
    """Duality gaps at the knots, over the path's own columns, and whether the knots say the truth about themselves."""
    found = []
    for knot in path.knots:
        w = path.weights(knot.norm)
        correlations = path.cross - path.gram @ w
        assert np.abs(w).sum() == pytest.approx(knot.norm)
        assert np.abs(correlations).max() == pytest.approx(knot.level, abs=1e-9 * np.abs(path.cross).max())
        found.append(2 * (knot.norm * np.abs(correlations).max() - correlations @ w) / path.label_sq)
    return found


def test_every_knot_is_optimal_up_to_least_squares(make: Make) -> None:
    path = path_of(*make(70, 40, 1))
    path.reach(np.inf)
    assert path.end.level == 0
    assert len(path.knots) > 20
    assert max(gaps(path)) < 1e-9
    assert np.diff([knot.norm for knot in path.knots]).min() >= 0
    assert np.diff([knot.level for knot in path.knots]).max() <= 0


def test_columns_that_come_later_bend_the_path_where_they_join(make: Make) -> None:
    x, labels = make(70, 40, 1)
    whole = path_of(x, labels)
    largest = int(np.abs(whole.cross).argmax())
    some = np.unique([largest, *range(0, 40, 3)])
    later = np.setdiff1d(np.arange(40), some)
    path = path_of(x, labels, some)
    for path_mu in (5.0, 20.0):
        path.reach(path_mu)
        new, later = later[:10], later[10:]
        path.grow(new, whole.gram[np.ix_(new, np.concatenate([path.columns, new]))], whole.cross[new])
        path.reach(path_mu)
        assert max(gaps(path)) < 1e-9
    path.grow(later, whole.gram[np.ix_(later, np.concatenate([path.columns, later]))], whole.cross[later])
    path.reach(50.0)
    whole.reach(50.0)
    for mu in (0.3, 2.0, 7.0, 19.0, 40.0):
        found = np.zeros(40)
        found[path.columns] = path.weights(mu)
        np.testing.assert_allclose(x.numpy() @ found, x.numpy() @ whole.weights(mu), atol=1e-7)


def test_a_knot_that_is_put_in_leaves_the_others(make: Make) -> None:
    path = path_of(*make(70, 40, 1))
    path.reach(10.0)
    norms, expected = [knot.norm for knot in path.knots], path.weights(4.0)
    path.mend(4.0, 0.0)
    assert sorted([*norms, 4.0]) == pytest.approx([knot.norm for knot in path.knots])
    np.testing.assert_allclose(path.gram @ path.weights(4.0), path.gram @ expected, atol=1e-8)
    path.mend(4.0, 0.0)
    assert len(path.knots) == len(norms) + 1


@settings(max_examples=40)
@given(st.integers(2, 12), st.integers(1, 12), st.integers(0, 10_000), st.booleans())
def test_paths_of_small_problems(samples: int, filters: int, seed: int, positive: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, filters, dtype=torch.float64, generator=generator)
    labels = torch.randn(samples, 1, dtype=torch.float64, generator=generator)
    path = path_of(x.abs() if positive else x, labels)
    path.reach(np.inf)
    assert path.end.level == 0
    assert max(gaps(path)) < 1e-6


def test_the_first_knot_has_the_column_that_agrees_most() -> None:
    knot = first_knot(np.array([1.0, -3.0, 2.0]))
    assert (knot.norm, knot.level, knot.active.tolist(), knot.signs.tolist()) == (0, 3, [1], [-1])


def test_directions_without_variance_are_not_in_the_spectrum() -> None:
    x = torch.randn(20, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = torch.cat([x, x[:, :1] + x[:, 1:2], torch.zeros(20, 1)], dim=1)
    values, vectors = GramLeastSquares(x.T @ x, torch.zeros(6, 1), torch.zeros(1)).spectrum
    assert len(values) == 4
    np.testing.assert_allclose(vectors @ np.diag(values) @ vectors.T, (x.T @ x).numpy(), atol=1e-10)
