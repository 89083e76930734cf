"""Least squares under an ℓ1 bound, from sums or rows, and the duality gap that certifies a solution."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Pair = tuple[Indices, Indices]

_BLOCK_ELEMENTS = 1 << 21
_SMALL_ELEMENTS = 1 << 27
_WIDEST_EIGENVALUES = 2000


class Fit(NamedTuple):
    """What weights of some classes leave unexplained.

    Attributes:
        correlations: (m, J) c = X (l − Xᵀw), half the negative gradient.
        objective: (J,) ‖Xᵀw − l‖².
    """

    correlations: Floats
    objective: Floats


class LeastSquares(ABC):
    """min ‖Xᵀw − l‖² for every class, all in float64.

    Attributes:
        cross: (m, C) X l of each class.
        label_sq: (C,) ‖l‖² of each class.
        norms: (m,) length of each filter's row of X.
    """

    cross: Floats
    label_sq: Floats
    norms: Floats

    @abstractmethod
    def gram_blocks(self, pairs: Sequence[Pair]) -> list[Floats]:
        """Blocks of X Xᵀ, one for each pair of row and column indices."""

    @abstractmethod
    def fit(self, weights: Floats, classes: Indices) -> Fit:
        """What (m, J) weights of these classes leave unexplained."""

    @cached_property
    def spectrum(self) -> tuple[Floats, Floats]:
        """Eigenvalues and eigenvectors of X Xᵀ that are not 0 up to rounding; none where that would take too long."""
        if len(self.norms) > _WIDEST_EIGENVALUES:
            return np.zeros(0), np.zeros((len(self.norms), 0))
        everything = np.arange(len(self.norms))
        values, vectors = np.linalg.eigh(self.gram_blocks([(everything, everything)])[0])
        kept = values > len(values) * np.finfo(np.float64).eps * values.max(initial=0)
        return values[kept], vectors[:, kept]


class GramLeastSquares(LeastSquares):
    """The problems by their sums.

    Args:
        gram: (m, m) X Xᵀ.
        cross: (m, C) X L.
        label_sq: (C,) sums of squared labels.
    """

    def __init__(self, gram: Tensor, cross: Tensor, label_sq: Tensor) -> None:
        self.gram, self.cross, self.label_sq = (as_float64(tensor) for tensor in (gram, cross, label_sq))
        self.norms = np.sqrt(self.gram.diagonal().clip(min=0))

    @override
    def gram_blocks(self, pairs: Sequence[Pair]) -> list[Floats]:
        return [self.gram[np.ix_(rows, columns)] for rows, columns in pairs]

    @override
    def fit(self, weights: Floats, classes: Indices) -> Fit:
        used = np.flatnonzero(weights.any(axis=1))
        cross = self.cross[:, classes]
        correlations = cross - self.gram[used].T @ weights[used]
        objective = self.label_sq[classes] - ((cross + correlations) * weights).sum(axis=0)
        return Fit(correlations, objective.clip(min=0))


class RowLeastSquares(LeastSquares):
    """The problems by their data, read in blocks of samples; products are taken in float64 on the device of ``x``.

    Args:
        x: (N, m) floating-point responses; may be memory-mapped.
        labels: (N, C).
    """

    def __init__(self, x: Tensor, labels: Tensor) -> None:
        self.x = x.detach()
        # A filter's responses lie side by side, so that some filters are quickly taken out of many.
        self._whole = self.x.double().T.contiguous() if x.numel() <= _SMALL_ELEMENTS else None
        self.labels = labels.detach().to(x.device, torch.float64).T.contiguous()
        self.label_sq = as_float64((self.labels**2).sum(dim=1))
        cross = self._zeros(labels.shape[1], x.shape[1])
        squares = self._zeros(x.shape[1])
        for samples, block in self._blocks():
            cross.addmm_(self.labels[:, samples], block.T)
            squares += torch.linalg.vector_norm(block, dim=1) ** 2
        self.cross, self.norms = as_float64(cross.T), as_float64(squares.sqrt())

    @override
    def gram_blocks(self, pairs: Sequence[Pair]) -> list[Floats]:
        """One pass over the data for all pairs: each by itself or, where that is less work, all in one product."""
        rows, columns = (np.unique(np.concatenate(side)) for side in zip(*pairs, strict=True))
        if len(rows) * len(columns) <= sum(len(row) * len(column) for row, column in pairs):
            (shared,) = self._products([(rows, columns)])
            places = [(np.searchsorted(rows, row), np.searchsorted(columns, column)) for row, column in pairs]
            return [shared[np.ix_(row, column)] for row, column in places]
        return self._products(pairs)

    @override
    def fit(self, weights: Floats, classes: Indices) -> Fit:
        used = np.flatnonzero(weights.any(axis=1))
        columns, picked = self._on_device(used), self._on_device(classes)
        w = self._on_device(weights[used].T)
        correlations, objective = self._zeros(len(classes), len(weights)), self._zeros(len(classes))
        for samples, block in self._blocks():
            residual = self.labels[picked, samples] - w @ block.index_select(0, columns)
            correlations.addmm_(residual, block.T)
            objective += (residual**2).sum(dim=1)
        return Fit(as_float64(correlations.T), as_float64(objective))

    def _blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """All samples, (m, n) at a time in float64; a block lives until the next one."""
        if self._whole is not None:
            yield slice(None), self._whole
            return
        count = max(32, _BLOCK_ELEMENTS // self.x.shape[1])
        buffer = self._zeros(self.x.shape[1], count)
        for start in range(0, len(self.x), count):
            block = self.x[start : start + count]
            yield slice(start, start + count), buffer[:, : len(block)].copy_(block.T)

    def _products(self, pairs: Sequence[Pair]) -> list[Floats]:
        on_device = [(self._on_device(rows), self._on_device(columns)) for rows, columns in pairs]
        sums = [self._zeros(len(rows), len(columns)) for rows, columns in on_device]
        for _, block in self._blocks():
            for total, (rows, columns) in zip(sums, on_device, strict=True):
                total.addmm_(block.index_select(0, rows), block.index_select(0, columns).T)
        return [as_float64(total) for total in sums]

    def _zeros(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.float64, device=self.x.device)

    def _on_device(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self.x.device)


def as_float64(tensor: Tensor) -> Floats:
    """The tensor as a float64 array."""
    array: Floats = tensor.detach().cpu().double().numpy()
    return array


_EPSILON = float(np.finfo(np.float64).eps)


class Certificate(NamedTuple):
    """Bounds for one class, from all columns and in float64.

    Attributes:
        correlations: (m,) c = X (l − Xᵀw).
        objective: ‖Xᵀw − l‖².
        gap: the objective is above its minimum by no more than this.
        rounding: (m,) what rounding may add to each correlation, to first order; ``gap`` has it in it.
        rounding_gap: that part of ``gap``.
    """

    correlations: Floats
    objective: float
    gap: float
    rounding: Floats
    rounding_gap: float


def certify(problem: LeastSquares, weights: Floats, classes: Indices, mu: Floats) -> list[Certificate]:
    """The duality gap 2 (μ ‖c‖∞ − cᵀw) (Jaggi, Revisiting Frank-Wolfe, ICML 2013) of (m, J) weights for (J,) μ."""
    correlations, objective = problem.fit(weights, classes)
    sizes, moved = np.abs(correlations), (correlations * weights).sum(axis=0)
    lengths = problem.norms @ np.abs(weights)
    errors = _EPSILON * (np.sqrt(problem.label_sq[classes]) + lengths)
    rounding = np.multiply.outer(errors, problem.norms).T
    exact = 2 * (mu * sizes.max(axis=0) - moved).clip(min=0)
    gap = exact + 2 * (mu * ((sizes + rounding).max(axis=0) - sizes.max(axis=0)) + lengths * errors)
    columns = (correlations.T, objective.tolist(), gap.tolist(), rounding.T, (gap - exact).tolist())
    return [Certificate(*parts) for parts in zip(*columns, strict=True)]


def least_squares_gap(problem: LeastSquares, certificate: Certificate, mu: float) -> float:
    """A bound that stays small for a large μ, where w is a least-squares solution and correlations are rounding.

    No w is better by more than cᵀG⁺c. Directions in which G is 0 up to rounding have no part in G⁺; along these, the
    objective falls by no more than 2 ‖c‖∞ a unit of ‖w‖₁.
    """
    correlations, rounding = certificate.correlations, certificate.rounding
    values, vectors = problem.spectrum
    along = vectors.T @ correlations
    across = correlations - vectors @ along
    spread = np.linalg.norm(rounding) / np.sqrt(values.min(initial=np.inf))
    gap = (np.sqrt((along**2 / values).sum()) + spread) ** 2
    if len(values) == len(correlations):
        return float(gap)
    return float(gap + 4 * mu * (np.abs(across) + rounding).max())
