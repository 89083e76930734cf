"""Mean class accuracy: accuracy with equal weight for each class (section 4.1 of Oramas et al., ICLR 2019)."""

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from vitrine.metrics.functional.checks import checked_classes, checked_tensor


class MeanClassAccuracy(Metric):
    """Mean over classes of the share of the class's images that are classified correctly.

    The mean is over the classes that have an image. (torchmetrics' macro average counts a class without an image as
    accuracy 0 where some image was predicted as it.)

    Example:
        >>> metric = MeanClassAccuracy()
        >>> metric.update(torch.eye(3)[[0, 0, 1, 2]], torch.tensor([0, 0, 0, 2]))  # logits (4, 3), labels (4,)
        >>> round(metric.compute().item(), 4)  # 2 of 3 images of class 0 and 1 of 1 of class 2
        0.8333
    """

    full_state_update = False
    higher_is_better = True
    outcomes: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        # Label and outcome of each image in one flat tensor: for a rank without a batch torchmetrics gathers an empty
        # one-dimensional tensor of the metric's own dtype.
        self.add_state("outcomes", [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Updates the state with (B, C) logits and (B,) labels.

        Raises:
            ValueError: for multi-hot labels, labels of another number than the logits, and those out of range.
        """
        if labels.ndim != 1:
            raise ValueError(
                f"Mean class accuracy needs one class an image, got labels of shape {tuple(labels.shape)};"
                " it is not defined for multi-label sets."
            )
        labels = checked_classes(labels, len(logits), checked_tensor(logits, "logits", "B, C").shape[1], "labels")
        hits = logits.argmax(dim=1) == labels
        self.outcomes.append(torch.stack([labels, hits], dim=1).flatten().to(self.dtype))

    def compute(self) -> Tensor:
        """() in [0, 1]; NaN without images."""
        outcomes = dim_zero_cat(self.outcomes) if len(self.outcomes) else torch.zeros(0, device=self.device)
        labels, hits = outcomes.reshape(-1, 2).unbind(dim=1)
        totals = torch.bincount(labels.long())
        hits_by_class = torch.bincount(labels[hits == 1].long(), minlength=len(totals))
        present = totals > 0
        return (hits_by_class[present] / totals[present]).mean()
