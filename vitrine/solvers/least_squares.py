"""Least-squares problems of the μ-Lasso, given by their sums or by their data."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Pair = tuple[Indices, Indices]

_BLOCK_ELEMENTS = 1 << 21
_MAX_IN_MEMORY_ELEMENTS = 1 << 27
_MAX_EIGENVALUES = 2000
_ROWS_AT_ONCE = 512


class Fit(NamedTuple):
    """Residual of the weights of J classes.

    Attributes:
        correlations: (m, J) c = X (l − Xᵀw), half the negative gradient.
        objective: (J,) ‖Xᵀw − l‖².
    """

    correlations: Floats
    objective: Floats


class LeastSquares(ABC):
    """The problems min ‖Xᵀw − l‖² of C classes, in float64.

    Attributes:
        cross: (m, C) X l of each class.
        label_sq: (C,) ‖l‖² of each class.
        norms: (m,) ℓ2 norm of each filter's responses, a row of X.
    """

    cross: Floats
    label_sq: Floats
    norms: Floats
    _of_all: "LeastSquares | None" = None
    """The problems that these are a part of."""

    @abstractmethod
    def gram_blocks(self, pairs: Sequence[Pair]) -> list[Floats]:
        """Blocks of X Xᵀ, one for each pair of row and column indices."""

    @abstractmethod
    def fit(self, weights: Floats, classes: Indices) -> Fit:
        """The residual of (m, J) weights of J classes."""

    def of_classes(self, classes: Indices) -> Self:
        """The problems of some classes alone, on the same X."""
        part = copy.copy(self)
        part._of_all = self._of_all or self  # noqa: SLF001 - of the same class
        part.cross, part.label_sq = self.cross[:, classes], self.label_sq[classes]
        return part

    @cached_property
    def spectrum(self) -> tuple[Floats, Floats]:
        """Eigenvalues of X Xᵀ above rounding and their eigenvectors; none where computing them would take too long."""
        if self._of_all is not None:
            return self._of_all.spectrum  # of the same X
        if len(self.norms) > _MAX_EIGENVALUES:
            return np.zeros(0), np.zeros((len(self.norms), 0))
        filters = np.arange(len(self.norms))
        values, vectors = np.linalg.eigh(self.gram_blocks([(filters, filters)])[0])
        significant = values > len(values) * np.finfo(np.float64).eps * values.max(initial=0)
        return values[significant], vectors[:, significant]


class GramLeastSquares(LeastSquares):
    """Least-squares problems given by their sums.

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
        cross = self.cross[:, classes]
        correlations = cross.copy()
        used = np.flatnonzero(weights.any(axis=1))
        for start in range(0, len(used), _ROWS_AT_ONCE):
            rows = used[start : start + _ROWS_AT_ONCE]
            correlations -= self.gram[rows].T @ weights[rows]
        objective = self.label_sq[classes] - ((cross + correlations) * weights).sum(axis=0)
        return Fit(correlations, objective.clip(min=0))


class DataLeastSquares(LeastSquares):
    """Least-squares problems given by their data, read in blocks of samples; products are float64, on the device of ``x``.

    Args:
        x: (N, m) floating-point responses; may be memory-mapped.
        labels: (N, C).
    """

    def __init__(self, x: Tensor, labels: Tensor) -> None:
        self.x = x.detach()
        # Transposed, so that each filter's responses are contiguous and a few filters are selected fast.
        self._whole = self.x.double().T.contiguous() if x.numel() <= _MAX_IN_MEMORY_ELEMENTS else None
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
        """One pass over the data for all pairs, with one product for each or, where that is less work, for all together."""
        rows, columns = (np.unique(np.concatenate(side)) for side in zip(*pairs, strict=True))
        if len(rows) * len(columns) <= sum(len(row) * len(column) for row, column in pairs):
            (shared,) = self._products([(rows, columns)])
            positions = [(np.searchsorted(rows, row), np.searchsorted(columns, column)) for row, column in pairs]
            return [shared[np.ix_(row, column)] for row, column in positions]
        return self._products(pairs)

    @override
    def fit(self, weights: Floats, classes: Indices) -> Fit:
        used = np.flatnonzero(weights.any(axis=1))
        filters, labels = self._on_device(used), self._on_device(classes)
        w = self._on_device(weights[used].T)
        correlations, objective = self._zeros(len(classes), len(weights)), self._zeros(len(classes))
        for samples, block in self._blocks():
            residual = self.labels[labels, samples] - w @ block.index_select(0, filters)
            correlations.addmm_(residual, block.T)
            objective += (residual**2).sum(dim=1)
        return Fit(as_float64(correlations.T), as_float64(objective))

    @override
    def of_classes(self, classes: Indices) -> Self:
        part = super().of_classes(classes)
        part.labels = self.labels[self._on_device(classes)]
        return part

    def _blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Slices of samples and their (m, n) float64 blocks; a block is valid until the next one."""
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
