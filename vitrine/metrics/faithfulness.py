"""Faithfulness: how well logits and class labels are rebuilt from an explanation."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import binary_auroc
from torchmetrics.utilities import dim_zero_cat

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


class ClassReconstruction(Metric):
    """Mean over classes of the area under the ROC curve, each class against all others.

    Classes without a positive or without a negative image have no curve; they are left out and counted. All scores are kept
    until the end, as the exact area needs them: 4 bytes an image and class, and as many for the labels.

    Args:
        num_classes: C.
    """

    full_state_update = False
    higher_is_better = True
    rows: list[Tensor]

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        # Scores and labels of each image, end to end: what torchmetrics gathers from a rank without a batch is a flat
        # tensor without elements, of the metric's own dtype.
        self.add_state("rows", [], dist_reduce_fx="cat")

    def update(self, scores: Tensor, labels: Tensor) -> None:
        """Takes in (B, C) scores, of any range, and (B,) classes or (B, C) multi-hot labels."""
        hot = labels > 0 if labels.ndim == 2 else torch.nn.functional.one_hot(labels, self.num_classes)
        self.rows.append(torch.stack([scores.detach().to(self.dtype), hot.to(scores.device, self.dtype)], 1).flatten())

    def compute(self) -> dict[str, Tensor]:
        """The mean area, NaN where a score is or no class has a curve; and how many classes have none."""
        rows = dim_zero_cat(self.rows) if len(self.rows) else torch.zeros(0, device=self.device)
        scores, hot = rows.reshape(-1, 2, self.num_classes).unbind(dim=1)
        positives = hot.sum(dim=0)
        measured = ((positives > 0) & (positives < len(hot))).nonzero().flatten().tolist()
        areas = [area_under_roc(scores[:, column], hot[:, column]) for column in measured]
        return {
            "reconstruction_auc": torch.stack(areas).mean() if areas else torch.tensor(torch.nan, device=self.device),
            "reconstruction_auc/skipped_classes": torch.tensor(
                float(self.num_classes - len(areas)), device=self.device
            ),
        }


def area_under_roc(scores: Tensor, positive: Tensor) -> Tensor:
    """() area under the ROC curve of (N,) scores of any range, ties counted half; NaN where one of them is.

    There must be a ``positive`` and a negative one.
    """
    # Ranks in place of scores: torchmetrics would send scores outside 0 … 1 through a sigmoid, which makes ties.
    ranks = torch.unique(scores, return_inverse=True)[1].double() / len(scores)
    area = binary_auroc(ranks, positive.long(), validate_args=False).float()
    return area.masked_fill(scores.isnan().any(), torch.nan)
