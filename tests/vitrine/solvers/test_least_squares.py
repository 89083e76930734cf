"""Problems by their sums and by their data: the same blocks, residuals and spectrum."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from vitrine.solvers import least_squares
from vitrine.solvers.least_squares import DataLeastSquares, GramLeastSquares, LeastSquares, as_float64

GENERATOR = torch.Generator().manual_seed(0)
X = torch.rand(40, 7, generator=GENERATOR, dtype=torch.float64)
LABELS = torch.rand(40, 3, generator=GENERATOR, dtype=torch.float64)
KINDS: dict[str, Callable[[], LeastSquares]] = {
    "sums": lambda: GramLeastSquares(X.T @ X, X.T @ LABELS, (LABELS**2).sum(dim=0)),
    "data": lambda: DataLeastSquares(X, LABELS),
}


@pytest.fixture(params=KINDS)
def problem(request: pytest.FixtureRequest) -> LeastSquares:
    return KINDS[request.param]()


def test_sums_of_all_classes(problem: LeastSquares) -> None:
    np.testing.assert_allclose(problem.cross, X.T @ LABELS)
    np.testing.assert_allclose(problem.label_sq, (LABELS**2).sum(dim=0))
    np.testing.assert_allclose(problem.norms, X.norm(dim=0))


@pytest.mark.parametrize("pairs", [[([0, 2], [1]), ([5], [5, 6, 0])], [([0, 1, 2], [0, 1, 2]), ([1, 2], [0, 2])]])
def test_blocks_of_the_gram_matrix(pairs: list[tuple[list[int], list[int]]], problem: LeastSquares) -> None:
    indices = [(np.array(rows), np.array(columns)) for rows, columns in pairs]
    whole = (X.T @ X).numpy()
    for block, (rows, columns) in zip(problem.gram_blocks(indices), indices, strict=True):
        np.testing.assert_allclose(block, whole[np.ix_(rows, columns)])


def test_residuals_of_some_classes(problem: LeastSquares) -> None:
    classes = np.array([2, 0])
    weights = np.zeros((7, 2))
    weights[[1, 4], [0, 1]] = 0.5, -2
    residual = LABELS.numpy()[:, classes] - X.numpy() @ weights
    fit = problem.fit(weights, classes)
    np.testing.assert_allclose(fit.correlations, X.numpy().T @ residual, atol=1e-12)
    np.testing.assert_allclose(fit.objective, (residual**2).sum(axis=0))


def test_the_spectrum_is_that_of_the_gram_matrix(problem: LeastSquares) -> None:
    values, vectors = problem.spectrum
    np.testing.assert_allclose(vectors * values @ vectors.T, X.T @ X, atol=1e-10)


def test_data_in_blocks_are_the_data_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = DataLeastSquares(X, LABELS)
    monkeypatch.setattr(least_squares, "_MAX_IN_MEMORY_ELEMENTS", 0)
    monkeypatch.setattr(least_squares, "_BLOCK_ELEMENTS", 1)
    blocks = DataLeastSquares(X, LABELS)
    np.testing.assert_allclose(blocks.cross, whole.cross)
    pairs = [(np.arange(3), np.arange(7))]
    np.testing.assert_allclose(blocks.gram_blocks(pairs)[0], whole.gram_blocks(pairs)[0])


def test_tensors_become_float64_arrays() -> None:
    array = as_float64(torch.ones(2, dtype=torch.float32, requires_grad=True))
    assert array.dtype == np.float64
    assert array.tolist() == [1, 1]
