"""Targets of attribution: the classes of a model or the channels of a layer that maps explain."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Indices = int | Sequence[int] | Tensor | NDArray[np.integer[Any]] | np.integer[Any]
"""One index for all inputs, (B,) one for each input, or (B, K) several for each input."""


class Target(NamedTuple):
    """What a map explains: classes of the model, or channels of a layer."""

    indices: Tensor | None
    """() or (B,) or (B, K) int64; None for the predicted class."""
    layer: str | None = None
    """The layer whose channels are explained; None for the model's classes."""

    def resolve(self, output: Tensor) -> Tensor:
        """(B, K) indices along dimension 1 of a (B, n, …) output.

        Raises:
            ValueError: if an index is out of range.
        """
        if self.indices is None:
            return output.detach().argmax(dim=1, keepdim=True)
        indices = self.indices.to(output.device)
        check_indices(indices, output.shape[1], "target" if self.layer is None else "channel")
        return indices if indices.ndim == 2 else indices.reshape(-1, 1).expand(len(output), 1)

    def select(self, rows: slice | Tensor) -> "Target":
        """The target of some inputs of the batch, or of (R,) copies of them."""
        if self.indices is None or self.indices.ndim == 0:
            return self
        return self._replace(indices=self.indices[rows])

    @property
    def is_multiple(self) -> bool:
        """Whether each input has K maps, along a dimension of their own."""
        return self.indices is not None and self.indices.ndim == 2

    @property
    def num_maps(self) -> int:
        """K, the number of maps of each input."""
        return self.indices.shape[1] if self.indices is not None and self.is_multiple else 1


def index_tensor(indices: Indices, batch_size: int, name: str, *, several: bool = True) -> Tensor:
    """() or (B,) or, where there may be several for each input, (B, K) int64 indices.

    Raises:
        ValueError: if they are not integers, or not B of them.
    """
    if _holds_booleans(indices):
        raise ValueError(f"{name} must hold integer indices, got booleans: {indices!r}.")
    try:
        tensor = torch.as_tensor(indices)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} must hold integer indices, got {indices!r}.") from error
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise ValueError(f"{name} must hold integer indices, got {tensor.dtype}.")
    if tensor.ndim > 1 + several or (tensor.ndim and len(tensor) != batch_size):
        or_several = f", or ({batch_size}, K)" if several else ""
        raise ValueError(
            f"{name} must be one index, or one for each of the {batch_size} inputs{or_several}, got {tuple(tensor.shape)}."
        )
    return tensor.long().clone()  # a tensor made in inference mode could not be part of a graph


def _holds_booleans(indices: Any) -> bool:
    """Whether there is a boolean among them, which would be taken for class 0 or 1."""
    if isinstance(indices, list | tuple):
        return any(map(_holds_booleans, indices))
    return isinstance(indices, bool | np.bool_)


def check_indices(indices: Tensor, count: int, name: str = "target") -> None:
    """Raises ValueError with the first index that is not in 0 … count − 1."""
    wrong = indices[(indices < 0) | (indices >= count)]
    if wrong.numel():
        raise ValueError(f"{name} {int(wrong[0])} is out of range: the explained output has indices 0 to {count - 1}.")
