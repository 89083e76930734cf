"""Sums over the data (Gram matrix, cross products, squared labels) from which the μ-Lasso is solved."""

from typing import Self

import torch
from torch import Tensor, distributed

from vitrine.core.distributed import sum_over_ranks, world_size

_SUMS = ("gram", "cross", "label_sq", "total", "label_total")


class MuLassoSums:
    """Sums over samples of responses x and labels l, accumulated in float64; m² numbers, whatever the number of samples.

    Attributes:
        gram: (m, m) Σ x xᵀ.
        cross: (m, C) Σ x lᵀ.
        label_sq: (C,) Σ l².
        total: (m,) Σ x.
        label_total: (C,) Σ l.
        n_samples: number of samples.

    Args:
        num_filters: m.
        num_classes: C.
        device: device of the sums.

    Example:
        >>> sums = MuLassoSums(num_filters=5, num_classes=3)
        >>> for _ in range(2):
        ...     sums.update(torch.rand(8, 5), torch.nn.functional.one_hot(torch.randint(3, (8,)), 3))
        >>> sums.gram.shape, sums.cross.shape, sums.n_samples
        (torch.Size([5, 5]), torch.Size([5, 3]), 16)
    """

    def __init__(self, num_filters: int, num_classes: int, device: torch.device | str = "cpu") -> None:
        self.gram = torch.zeros(num_filters, num_filters, dtype=torch.float64, device=device)
        self.cross = self.gram.new_zeros(num_filters, num_classes)
        self.label_sq, self.label_total = self.gram.new_zeros(2, num_classes)
        self.total = self.gram.new_zeros(num_filters)
        self.n_samples = 0

    @torch.no_grad()
    def update(self, x: Tensor, labels: Tensor) -> None:
        """Adds a batch.

        Args:
            x: (B, m) responses.
            labels: (B, C).

        Raises:
            ValueError: where the shapes do not fit, or for NaN or infinity; the sums stay as they were.
        """
        m, classes = self.cross.shape
        if x.dim() != 2 or x.shape != (len(labels), m) or labels.shape != (len(x), classes):
            raise ValueError(
                f"x and labels are of shapes {tuple(x.shape)} and {tuple(labels.shape)}; give (B, {m}) and (B, {classes})."
            )
        if not (x.isfinite().all() and labels.isfinite().all()):
            raise ValueError("x or labels hold NaN or infinity; give finite numbers.")
        x, labels = (tensor.to(self.gram.device).double() for tensor in (x, labels))
        self.gram.addmm_(x.T, x)
        self.cross.addmm_(x.T, labels)
        self.label_sq += (labels**2).sum(dim=0)
        self.total += x.sum(dim=0)
        self.label_total += labels.sum(dim=0)
        self.n_samples += len(x)

    def over_ranks(self) -> Self:
        """The sums over the samples of all processes, as a new object; a collective."""
        merged = self._empty()
        device = "cuda" if world_size() > 1 and distributed.get_backend() == "nccl" else self.gram.device
        for name in _SUMS:
            setattr(merged, name, sum_over_ranks(getattr(self, name).to(device)).to(self.gram.device).clone())
        merged.n_samples = int(sum_over_ranks(torch.tensor(self.n_samples, device=device)))
        return merged

    def scaled(self, shift: Tensor, factor: Tensor, *, centre: bool) -> Self:
        """The sums of the scaled responses (x − shift) · factor, and with ``centre`` of the labels minus their mean.

        Args:
            shift: (m,) subtracted from each filter's response.
            factor: (m,) by which the difference is multiplied.
            centre: whether the labels' mean is subtracted, as for a model with an intercept.

        Raises:
            ValueError: where ``shift`` or ``factor`` is not of shape (m,), or there are no samples.
        """
        for name, tensor in (("shift", shift), ("factor", factor)):
            if tensor.shape != self.total.shape:
                raise ValueError(f"{name} is of shape {tuple(tensor.shape)}; give {tuple(self.total.shape)}.")
        if not self.n_samples:
            raise ValueError("There are no sums to scale; call update with a batch first.")
        shift, factor = shift.to(self.total), factor.to(self.total)
        mean = self.label_total / self.n_samples if centre else torch.zeros_like(self.label_total)
        result = self._empty()
        result.n_samples = self.n_samples
        result.total = factor * (self.total - self.n_samples * shift)
        result.label_total = self.label_total - self.n_samples * mean
        result.label_sq = (self.label_sq - mean * (self.label_total + result.label_total)).clamp(min=0)
        cross = self.cross - shift[:, None] * self.label_total - (self.total - self.n_samples * shift)[:, None] * mean
        result.cross = factor[:, None] * cross
        # x xᵀ − s tᵀ − t sᵀ + N s sᵀ
        half = torch.outer(shift, self.total - self.n_samples / 2 * shift)
        result.gram = factor[:, None] * (self.gram - half - half.T) * factor
        return result

    def _empty(self) -> Self:
        num_filters, num_classes = self.cross.shape
        return type(self)(num_filters, num_classes, self.gram.device)
