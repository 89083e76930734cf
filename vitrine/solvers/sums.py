"""Sums over the data (Gram matrix, cross products, squared labels) from which the μ-Lasso is solved."""

from collections.abc import Mapping
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, distributed

from vitrine.core.distributed import global_rank, sum_over_ranks, world_size
from vitrine.solvers.gram import GramSums, Products

_SUMS = ("label_sq", "total", "label_total")
_SPARSE = 4
"""Labels with up to as many entries a sample are added entry by entry."""


class MuLassoSums:
    """Sums over samples of responses x and labels l, accumulated in float64; m² numbers, whatever the number of samples.

    Attributes:
        cross: (m, C) Σ x lᵀ.
        label_sq: (C,) Σ l².
        total: (m,) Σ x.
        label_total: (C,) Σ l.
        n_samples: number of samples.

    Args:
        num_filters: m.
        num_classes: C.
        device: device of the sums.
        products: type in which responses are multiplied with each other; float32 is twice as fast, see `GramSums`.
        file: a file that holds X Xᵀ in place of the memory; it is written anew.

    Example:
        >>> sums = MuLassoSums(num_filters=5, num_classes=3)
        >>> for _ in range(2):
        ...     sums.update(torch.rand(8, 5), torch.nn.functional.one_hot(torch.randint(3, (8,)), 3))
        >>> sums.gram.shape, sums.cross.shape, sums.n_samples
        (torch.Size([5, 5]), torch.Size([5, 3]), 16)
    """

    def __init__(
        self,
        num_filters: int,
        num_classes: int,
        device: torch.device | str = "cpu",
        products: Products = "float64",
        file: Path | None = None,
    ) -> None:
        self._gram = GramSums(num_filters, device, products, file)
        self.total = torch.zeros(num_filters, dtype=torch.float64, device=device)
        self._by_class = self.total.new_zeros(num_classes, num_filters)  # a class's own sums lie side by side
        self.label_sq, self.label_total = self.total.new_zeros(2, num_classes)
        self.n_samples = 0

    @property
    def gram(self) -> Tensor:
        """(m, m) Σ x xᵀ; valid until the next batch."""
        return self._gram.total()

    @property
    def cross(self) -> Tensor:
        """(m, C) Σ x lᵀ."""
        return self._by_class.T

    @torch.no_grad()
    def update(self, x: Tensor, labels: Tensor) -> None:
        """Adds a batch.

        Args:
            x: (B, m) responses.
            labels: (B, C).

        Raises:
            ValueError: where the shapes do not fit, or for NaN or infinity; the sums stay as they were.
        """
        classes, m = self._by_class.shape
        if x.dim() != 2 or x.shape != (len(labels), m) or labels.shape != (len(x), classes):
            raise ValueError(
                f"x and labels are of shapes {tuple(x.shape)} and {tuple(labels.shape)}; give (B, {m}) and (B, {classes})."
            )
        x, labels = x.to(self.total.device), labels.to(self.total)
        total, label_total = x.sum(dim=0, dtype=torch.float64), labels.sum(dim=0)
        if not (total.isfinite().all() and label_total.isfinite().all()):  # NaN and infinity do not cancel out
            raise ValueError("x or labels hold NaN or infinity; give finite numbers.")
        self._gram.update(x)
        self._add_cross(x, labels)
        self.label_sq += (labels**2).sum(dim=0)
        self.total += total
        self.label_total += label_total
        self.n_samples += len(x)

    def _add_cross(self, x: Tensor, labels: Tensor) -> None:
        places = labels.nonzero() if labels.device.type == "cpu" else None
        if places is None or len(places) > _SPARSE * len(labels):
            self._by_class.addmm_(labels.T, x.double())
            return
        for (
            row,
            column,
        ) in places.tolist():  # a row is long: this is several times as fast as index_add_ of float64 copies
            self._by_class[column].add_(x[row], alpha=float(labels[row, column]))

    def sum_over_ranks_(self) -> Self:
        """Makes them the sums over the samples of all processes; a collective.

        Blocks on and above the diagonal of X Xᵀ are sent, one by one, so that no second copy is needed.
        """
        if world_size() > 1:
            self._gram.replace_upper(self._of_ranks)
            for name in (*_SUMS, "_by_class"):
                setattr(self, name, self._of_ranks(getattr(self, name)))
            self.n_samples = int(self._of_ranks(torch.tensor(self.n_samples)))
        return self

    def over_ranks(self) -> Self:
        """The sums over the samples of all processes, as a new object; a collective."""
        return self._copy().sum_over_ranks_()

    def _of_ranks(self, tensor: Tensor) -> Tensor:
        device = "cuda" if distributed.get_backend() == "nccl" else tensor.device
        return sum_over_ranks(tensor.to(device)).to(tensor.device).clone()

    def scaled(self, shift: Tensor, factor: Tensor, *, centre: bool) -> Self:
        """The sums of the scaled responses (x − shift) · factor, and with ``centre`` of the labels minus their mean.

        Args:
            shift: (m,) subtracted from each filter's response.
            factor: (m,) by which the difference is multiplied.
            centre: whether the labels' mean is subtracted, as for a model with an intercept.

        Raises:
            ValueError: where ``shift`` or ``factor`` is not of shape (m,), or there are no samples.
        """
        return self._copy().scale_(shift, factor, centre=centre)

    def scale_(self, shift: Tensor, factor: Tensor, *, centre: bool) -> Self:
        """`scaled` in place, which takes no second X Xᵀ; further samples cannot be added."""
        for name, tensor in (("shift", shift), ("factor", factor)):
            if tensor.shape != self.total.shape:
                raise ValueError(f"{name} is of shape {tuple(tensor.shape)}; give {tuple(self.total.shape)}.")
        if not self.n_samples:
            raise ValueError("There are no sums to scale; call update with a batch first.")
        shift, factor = shift.to(self.total), factor.to(self.total)
        count, total, labels = self.n_samples, self.total, self.label_total
        mean = labels / count if centre else torch.zeros_like(labels)
        # x xᵀ − s tᵀ − t sᵀ + N s sᵀ
        self._gram.scale_(shift, total - count / 2 * shift, factor)
        self.total = factor * (total - count * shift)
        self.label_total = labels - count * mean
        self.label_sq = (self.label_sq - mean * (labels + self.label_total)).clamp(min=0)
        self._by_class.addr_(labels, shift, alpha=-1).addr_(mean, total - count * shift, alpha=-1).mul_(factor)
        return self

    def state(self) -> dict[str, Tensor]:
        """Tensors by name for a checkpoint, the sums over all ranks, on rank zero; a collective. Others get none.

        The rows that wait for their product are kept as they are where there is one process, so that a fit that goes on ends
        with the same bits; of several processes they are multiplied first.
        """
        alone = world_size() == 1
        if not alone:
            self._gram.flush()
        state = {name: self._on_zero(getattr(self, name)) for name in (*_SUMS, "_by_class")}
        state["n_samples"] = self._on_zero(torch.tensor(self.n_samples))
        upper = torch.empty(self._gram.upper_size if global_rank() == 0 else 0, dtype=torch.float64)
        for place, block in self._gram.upper_blocks():
            total = self._on_zero(block)
            if global_rank() == 0:
                upper[place] = total.flatten()
        if alone:
            state["pending"] = self._gram.pending.cpu().clone()
        return state | {"upper": upper} if global_rank() == 0 else {}

    def _on_zero(self, tensor: Tensor) -> Tensor:
        return tensor.cpu().clone() if world_size() == 1 else self._of_ranks(tensor.contiguous()).cpu()

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Goes on from a checkpoint's state: rank zero has the sums of all ranks, the others none.

        Raises:
            ValueError: for sums of other numbers of filters or classes.
        """
        if state["_by_class"].shape != self._by_class.shape:
            found, wanted = (tuple(value.shape) for value in (state["_by_class"].T, self.cross))
            raise ValueError(f"The sums are of {found} filters and classes, and not of {wanted}; begin the fit anew.")
        if global_rank() > 0:
            return
        for name in (*_SUMS, "_by_class"):
            getattr(self, name).copy_(state[name])
        self.n_samples = int(state["n_samples"])
        self._gram.load(state["upper"], state.get("pending"))

    def _copy(self) -> Self:
        classes, filters = self._by_class.shape
        copy = type(self)(filters, classes, self.total.device, self._gram.products)
        for name in (*_SUMS, "_by_class"):
            getattr(copy, name).copy_(getattr(self, name))
        copy.n_samples = self.n_samples
        copy._gram.take(self._gram.total())  # noqa: SLF001 - of the same class
        return copy
