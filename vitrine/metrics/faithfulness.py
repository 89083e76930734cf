"""Faithfulness: how well an explanation reconstructs the logits, the decision and the class labels."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn.functional import one_hot
from torchmetrics import Metric
from torchmetrics.functional.classification import binary_auroc
from torchmetrics.utilities import dim_zero_cat

from vitrine.metrics.functional import absolute_difference, decision_kept
from vitrine.metrics.functional.checks import checked_classes, checked_same_shape, checked_tensor


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
    def _values(self, logit_estimate: Tensor, logits: Tensor, explained_classes: Tensor) -> Tensor: ...

    def update(self, logit_estimate: Tensor, logits: Tensor, explained_classes: Tensor) -> None:
        """Updates the state with (B, J) estimates of the (J,) explained classes' logits, and the (B, C) logits."""
        values = self._values(logit_estimate.detach(), logits.detach(), explained_classes)
        self.total += values.sum(dtype=torch.float64)
        self.count += values.numel()

    def compute(self) -> Tensor:
        """The mean; NaN without images."""
        return (self.total / self.count).float()


class RegressionFaithfulness(_Faithfulness):
    """F_reg: mean absolute difference between estimate and logit (section 4.1 of Qi et al.); best is 0.

    Example:
        >>> metric = RegressionFaithfulness()
        >>> logits = torch.tensor([[1.0, 2.0, 3.0]])  # (B, C)
        >>> metric.update(torch.tensor([[2.5, 2.0]]), logits, torch.tensor([2, 1]))  # (B, J) and (J,)
        >>> metric.compute().item()
        0.25
    """

    higher_is_better = False

    def _values(self, logit_estimate: Tensor, logits: Tensor, explained_classes: Tensor) -> Tensor:
        return absolute_difference(logit_estimate, logits, explained_classes)


class ClassificationFaithfulness(_Faithfulness):
    """F_cls: share of (image, class) pairs whose decision is the same with the estimate as the logit; best is 1.

    Example:
        >>> metric = ClassificationFaithfulness()
        >>> logits = torch.tensor([[1.0, 2.0, 3.0]])  # (B, C)
        >>> metric.update(torch.tensor([[2.5, 4.0]]), logits, torch.tensor([2, 1]))  # class 1 would win with 4
        >>> metric.compute().item()
        0.5
    """

    higher_is_better = True

    def _values(self, logit_estimate: Tensor, logits: Tensor, explained_classes: Tensor) -> Tensor:
        return decision_kept(logit_estimate, logits, explained_classes)


class ClassReconstruction(Metric):
    """Mean over classes of the area under the ROC curve of each class against all others.

    Classes without a positive or without a negative image have no curve; they are left out and counted. All scores are
    stored, as the exact area needs them: 4 bytes an image and class, and as many for the labels.

    Args:
        num_classes: C.

    Example:
        >>> metric = ClassReconstruction(num_classes=3)
        >>> metric.update(torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0]]), torch.tensor([0, 1]))
        >>> {name: value.item() for name, value in metric.compute().items()}  # class 1 has a tie, class 2 no image
        {'reconstruction_auc': 0.75, 'reconstruction_auc/skipped_classes': 1.0}
    """

    full_state_update = False
    higher_is_better = True
    records: list[Tensor]

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        # Scores and labels of each image in one flat tensor: for a rank without a batch torchmetrics gathers an empty
        # one-dimensional tensor of the metric's own dtype.
        self.add_state("records", [], dist_reduce_fx="cat")

    def update(self, scores: Tensor, labels: Tensor) -> None:
        """Updates the state with (B, C) scores of any range, and (B,) classes or (B, C) multi-hot labels.

        Raises:
            ValueError: for other shapes, and for a class out of range.
        """
        if checked_tensor(scores, "scores", "B, C").shape[1] != self.num_classes:
            raise ValueError(f"scores has the shape {tuple(scores.shape)}; give (B, {self.num_classes}).")
        if labels.ndim == 2:
            checked_same_shape(scores, labels, ("scores", "labels"))
            hot = labels > 0
        else:
            hot = one_hot(checked_classes(labels, len(scores), self.num_classes, "labels").long(), self.num_classes)
        record = torch.stack([scores.detach().to(self.dtype), hot.to(scores.device, self.dtype)], dim=1)
        self.records.append(record.flatten())

    def compute(self) -> dict[str, Tensor]:
        """The mean area (NaN where a score is NaN or no class has a curve), and the number of classes left out."""
        records = dim_zero_cat(self.records) if len(self.records) else torch.zeros(0, device=self.device)
        scores, hot = records.reshape(-1, 2, self.num_classes).unbind(dim=1)
        positives = hot.sum(dim=0)
        measured = ((positives > 0) & (positives < len(hot))).nonzero().flatten().tolist()
        areas = [area_under_roc(scores[:, label], hot[:, label]) for label in measured]
        return {
            "reconstruction_auc": torch.stack(areas).mean() if areas else torch.tensor(torch.nan, device=self.device),
            "reconstruction_auc/skipped_classes": torch.tensor(
                float(self.num_classes - len(areas)), device=self.device
            ),
        }


def area_under_roc(scores: Tensor, positive: Tensor) -> Tensor:
    """() area under the ROC curve of (N,) scores of any range, ties counted half; NaN where a score is NaN.

    There must be a positive and a negative sample.

    Example:
        >>> area_under_roc(torch.tensor([-3.0, 5.0, 7.0]), torch.tensor([0, 0, 1])).item()
        1.0
    """
    # Ranks instead of scores: torchmetrics would apply a sigmoid to scores outside [0, 1], which makes ties.
    ranks = torch.unique(scores, return_inverse=True)[1].double() / len(scores)
    area = binary_auroc(ranks, positive.long(), validate_args=False).float()
    return area.masked_fill(scores.isnan().any(), torch.nan)
