"""The sums over the data that the μ-Lasso is solved from."""

from typing import Self

import torch
from torch import Tensor, distributed

from vitrine.core.distributed import sum_over_ranks, world_size

_SUMS = ("gram", "cross", "label_sq", "total", "label_total")


class MuLassoSums:
    """Sums over samples of responses x and labels l, taken batch by batch in float64; m² numbers, whatever N is.

    Attributes:
        gram: (m, m) Σ x xᵀ.
        cross: (m, C) Σ x lᵀ.
        label_sq: (C,) Σ l².
        total: (m,) Σ x.
        label_total: (C,) Σ l.
        count: number of samples.

    Args:
        num_filters: m.
        num_classes: C.
        device: where the sums are kept and taken.
    """

    def __init__(self, num_filters: int, num_classes: int, device: torch.device | str = "cpu") -> None:
        self.gram = torch.zeros(num_filters, num_filters, dtype=torch.float64, device=device)
        self.cross = self.gram.new_zeros(num_filters, num_classes)
        self.label_sq, self.label_total = self.gram.new_zeros(2, num_classes)
        self.total = self.gram.new_zeros(num_filters)
        self.count = 0

    @torch.no_grad()
    def update(self, x: Tensor, labels: Tensor) -> None:
        """Adds a batch.

        Args:
            x: (B, m) responses.
            labels: (B, C).

        Raises:
            ValueError: shapes do not fit, or NaN or infinity in the batch; the sums are as before.
        """
        m, classes = self.cross.shape
        if x.dim() != 2 or x.shape != (len(labels), m) or labels.shape != (len(x), classes):
            raise ValueError(
                f"A batch is of responses (B, {m}) and labels (B, {classes}), not {tuple(x.shape)} and {tuple(labels.shape)}."
            )
        if not (x.isfinite().all() and labels.isfinite().all()):
            raise ValueError("A batch of responses or labels has NaN or infinity in it.")
        x, labels = (tensor.to(self.gram.device).double() for tensor in (x, labels))
        self.gram.addmm_(x.T, x)
        self.cross.addmm_(x.T, labels)
        self.label_sq += (labels**2).sum(dim=0)
        self.total += x.sum(dim=0)
        self.label_total += labels.sum(dim=0)
        self.count += len(x)

    def over_ranks(self) -> Self:
        """The sums over the samples of all processes; these sums stay those of this process alone."""
        merged = self._empty()
        device = "cuda" if world_size() > 1 and distributed.get_backend() == "nccl" else self.gram.device
        for name in _SUMS:
            setattr(merged, name, sum_over_ranks(getattr(self, name).to(device)).to(self.gram.device).clone())
        merged.count = int(sum_over_ranks(torch.tensor(self.count, device=device)))
        return merged

    def scaled(self, shift: Tensor, factor: Tensor, *, centre: bool) -> Self:
        """The sums of (x − shift) · factor, as if they had been taken of it; with ``centre``, of labels minus their mean.

        Args:
            shift: (m,) taken from each filter's response.
            factor: (m,) by which that is multiplied.
            centre: whether an intercept, the labels' mean, stands beside the weights.

        Raises:
            ValueError: ``shift`` or ``factor`` is not of shape (m,), or there are no samples.
        """
        for name, tensor in (("shift", shift), ("factor", factor)):
            if tensor.shape != self.total.shape:
                raise ValueError(f"The {name} is of shape {tuple(self.total.shape)}, not {tuple(tensor.shape)}.")
        if not self.count:
            raise ValueError("There are no sums to scale: no batch was added.")
        shift, factor = shift.to(self.total), factor.to(self.total)
        mean = self.label_total / self.count if centre else torch.zeros_like(self.label_total)
        result = self._empty()
        result.count = self.count
        result.total = factor * (self.total - self.count * shift)
        result.label_total = self.label_total - self.count * mean
        result.label_sq = (self.label_sq - mean * (self.label_total + result.label_total)).clamp(min=0)
        cross = self.cross - shift[:, None] * self.label_total - (self.total - self.count * shift)[:, None] * mean
        result.cross = factor[:, None] * cross
        # x xᵀ − s tᵀ − t sᵀ + N s sᵀ
        half = torch.outer(shift, self.total - self.count / 2 * shift)
        result.gram = factor[:, None] * (self.gram - half - half.T) * factor
        return result

    def _empty(self) -> Self:
        num_filters, num_classes = self.cross.shape
        return type(self)(num_filters, num_classes, self.gram.device)
