"""Faithfulness of an explainer's estimate of the logits (section 4.1 of Qi, Khorram and Li 2018)."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torchmetrics import Metric

from vitrine.metrics.functional import absolute_difference, decision_kept


class _Faithfulness(Metric, ABC):
    """A mean over images and explained classes."""

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    @abstractmethod
    def _values(self, reconstruction: Tensor, logits: Tensor, explained_classes: Tensor) -> Tensor: ...

    def update(self, reconstruction: Tensor, logits: Tensor, explained_classes: Tensor) -> None:
        """Takes in (B, J) estimates, (B, C) logits and the (J,) classes that were estimated."""
        values = self._values(reconstruction.detach(), logits.detach(), explained_classes)
        self.total += values.sum(dtype=torch.float64)
        self.count += values.numel()

    def compute(self) -> Tensor:
        """The mean; NaN where nothing was taken in."""
        return (self.total / self.count).float()


class RegressionFaithfulness(_Faithfulness):
    """F_reg: mean absolute difference of estimate and logit; 0 is perfect."""

    higher_is_better = False

    def _values(self, reconstruction: Tensor, logits: Tensor, explained_classes: Tensor) -> Tensor:
        return absolute_difference(reconstruction, logits, explained_classes)


class ClassificationFaithfulness(_Faithfulness):
    """F_cls: share of (image, class) pairs whose classification stays when the estimate replaces the logit; 1 is perfect."""

    higher_is_better = True

    def _values(self, reconstruction: Tensor, logits: Tensor, explained_classes: Tensor) -> Tensor:
        return decision_kept(reconstruction, logits, explained_classes)
