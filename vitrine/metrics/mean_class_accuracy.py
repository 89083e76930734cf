"""Accuracy with the same weight for each class (section 4.1 of Oramas et al., ICLR 2019)."""

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


class MeanClassAccuracy(Metric):
    """Mean over classes of the share of the class's images that are classified rightly.

    It is the mean over the classes that have an image; torchmetrics' macro average counts a class without one as missed where
    an image was taken for it.
    """

    full_state_update = False
    higher_is_better = True
    outcomes: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        # Class and outcome of each image, end to end: what torchmetrics gathers from a rank without a batch is a flat
        # tensor without elements, of the metric's own dtype.
        self.add_state("outcomes", [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Takes in (B, C) logits and (B,) classes.

        Raises:
            ValueError: for multi-hot labels.
        """
        if labels.ndim != 1:
            raise ValueError(
                f"Mean class accuracy needs one class an image, got labels of shape {tuple(labels.shape)};"
                " it is not defined for multi-label sets."
            )
        hits = logits.argmax(dim=1) == labels
        self.outcomes.append(torch.stack([labels, hits], dim=1).flatten().to(self.dtype))

    def compute(self) -> Tensor:
        """() in [0, 1]; NaN where nothing was taken in."""
        outcomes = dim_zero_cat(self.outcomes) if len(self.outcomes) else torch.zeros(0, device=self.device)
        labels, hits = outcomes.reshape(-1, 2).unbind(dim=1)
        totals = torch.bincount(labels.long())
        hits_by_class = torch.bincount(labels[hits == 1].long(), minlength=len(totals))
        present = totals > 0
        return (hits_by_class[present] / totals[present]).mean()
