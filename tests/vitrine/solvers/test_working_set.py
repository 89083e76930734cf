"""Working sets: the weights are those over all columns, whatever few columns they begin with."""

from collections.abc import Callable

import numpy as np
import pytest
from torch import Tensor

from vitrine.solvers import working_set
from vitrine.solvers.least_squares import DataLeastSquares, GramLeastSquares, LeastSquares
from vitrine.solvers.working_set import LassoPaths

Make = Callable[..., tuple[Tensor, Tensor]]


def problems(x: Tensor, labels: Tensor) -> dict[str, LeastSquares]:
    sums = GramLeastSquares(x.T @ x, x.T @ labels, (labels**2).sum(dim=0))
    return {"sums": sums, "data": DataLeastSquares(x, labels)}


@pytest.mark.parametrize("kind", ["sums", "data"])
@pytest.mark.parametrize("start", [1, 5, 1000])
def test_the_columns_that_it_begins_with_do_not_matter(
    make_responses: Make, kind: str, start: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, labels = make_responses(60, 40, 3)
    mu = np.array([0.5, 2.0, 8.0])
    whole = LassoPaths(problems(x, labels)[kind]).solve(mu, 1e-9, lambda: None)
    monkeypatch.setattr(working_set, "_NUM_NEW_COLUMNS", start)
    told: list[None] = []
    found = LassoPaths(problems(x, labels)[kind]).solve(mu, 1e-9, lambda: told.append(None))
    np.testing.assert_allclose(found.objective, whole.objective, rtol=1e-7)
    assert (found.gap <= 1e-8 * found.objective).all()
    assert (np.abs(found.weights).sum(axis=0) <= mu * (1 + 1e-9)).all()
    assert len(told) == 3
    residual = x.numpy() @ found.weights - labels.numpy()
    np.testing.assert_allclose((residual**2).sum(axis=0), found.objective, rtol=1e-8)
