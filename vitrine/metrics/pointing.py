"""Whether heatmaps point at objects of the explained class (the pointing game of Zhang et al., ECCV 2016)."""

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.metrics.base import ExplanationMetric, boxes_of_classes
from vitrine.metrics.functional import is_difficult, pointing_hit


class PointingGame(ExplanationMetric):
    """Share of (image, class) pairs whose aggregated heatmap has its maximum on an object of the class: hits / trials.

    Each row of a batch is a pair: the class is the explained one, and the boxes are those of that class (all boxes where
    the data set has no ``box_labels``). A row without such a box is no trial; it is left out and counted as skipped. A
    degenerate map is a trial that is not a hit: it lowers the share as a miss does, and is counted apart from misses.
    Shares are taken class by class, and the figure is their mean over the classes with a trial; so is that of the difficult
    subset (`is_difficult`), to which only pairs of sets with ``box_labels`` can belong.

    Boxes are those at the network's input, so what a crop cuts away cannot be hit. So is the tolerance; the paper's 15 pixels
    are of images about 500 pixels wide.

    Args:
        tolerance: how many pixels of the network's input a maximum may lie off a box and still be a hit.
    """

    higher_is_better = True
    trials: list[Tensor]
    skipped: Tensor

    def __init__(self, tolerance: float = 15.0) -> None:
        super().__init__()
        if tolerance < 0:
            raise ValueError(f"tolerance is {tolerance}; give 0 pixels or more.")
        self.tolerance = tolerance
        # Class, outcome and difficult of each trial, end to end: what torchmetrics gathers from a rank without a batch is
        # a flat tensor without elements, of the metric's own dtype.
        self.add_state("trials", [], dist_reduce_fx="cat")
        self.add_sum("skipped")

    def update(self, explanation: Explanation, batch: Batch) -> None:
        """Takes in one batch; the explained classes are ``explanation.target``."""
        maps = explanation.aggregate()[:, 0]
        pairs = list(enumerate(explanation.target.tolist()))
        boxes = [found.to(maps.device) for found in boxes_of_classes(batch, explanation.target)]
        difficult = [_is_difficult(label, batch, row, (maps.shape[1], maps.shape[2])) for row, label in pairs]
        outcomes = pointing_hit(maps, boxes, self.tolerance)
        trials = torch.stack([explanation.target.to(outcomes), outcomes, outcomes.new_tensor(difficult)], dim=1)
        tried = [row for row, found in enumerate(boxes) if len(found)]
        self.trials.append(trials[tried].flatten().to(self.dtype))
        self.skipped += len(boxes) - len(tried)

    def compute(self) -> dict[str, Tensor]:
        """The mean share of hits over all pairs and over the difficult ones, and how many pairs came out how."""
        trials = dim_zero_cat(self.trials) if len(self.trials) else torch.zeros(0, device=self.device)
        classes, outcomes, difficult = trials.reshape(-1, 3).unbind(dim=1)
        hits = outcomes == 1
        return {
            "pointing_game": _mean_over_classes(classes, hits),
            "pointing_game/difficult": _mean_over_classes(classes[difficult == 1], hits[difficult == 1]),
            "pointing_game/hits": hits.sum().float(),
            "pointing_game/misses": (outcomes == 0).sum().float(),
            "pointing_game/degenerate": outcomes.isnan().sum().float(),
            "pointing_game/skipped": self.skipped.float(),
        }


def _is_difficult(label: int, batch: Batch, row: int, size: tuple[int, int]) -> bool:
    if "box_labels" not in batch:
        return False
    flags = batch["box_difficult"][row] if "box_difficult" in batch else None
    return is_difficult(batch["boxes"][row], batch["box_labels"][row], label, size, flags)


def _mean_over_classes(classes: Tensor, hits: Tensor) -> Tensor:
    """The mean over classes of the share of hits; NaN where there is no trial."""
    of_class = torch.bincount(classes.long()).nonzero() == classes
    return ((of_class & hits).sum(dim=1) / of_class.sum(dim=1)).mean()
