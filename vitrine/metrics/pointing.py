"""Pointing game: whether the maximum of a heatmap lies on an object of the explained class (Zhang et al., ECCV 2016)."""

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.core.options import NonNegative, checked
from vitrine.metrics.base import ExplanationMetric, boxes_of_classes
from vitrine.metrics.functional import is_difficult, pointing_hit


class PointingGame(ExplanationMetric):
    """Share of (image, class) pairs whose aggregated heatmap has its maximum on an object of the class: hits / trials.

    Each sample of a batch is one pair: the class is the explained one, and the boxes are those of that class (all boxes where
    the data set has no ``box_labels``). A sample without such a box is no trial; it is skipped and counted. A degenerate map
    is a trial without a hit, and is counted separately from misses. The accuracy is computed for each class and averaged
    over the classes with a trial; so is that of the difficult subset (`is_difficult`), which only sets with ``box_labels``
    have.

    Boxes and tolerance are in pixels of the network's input, so that objects outside a crop cannot be hit; the paper's 15
    pixels are for images about 500 pixels wide.

    Args:
        tolerance: distance to a box up to which a maximum is a hit, in pixels of the network's input.

    Raises:
        OptionError: for a negative tolerance.

    Example:
        >>> maps = torch.rand(2, 1, 8, 8)
        >>> maps[:, :, 1, 1] = 2
        >>> labels, boxes = torch.tensor([0, 0]), [torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([[6.0, 6, 8, 8]])]
        >>> explanation = Explanation(maps, torch.ones(2, 1), [["all"]] * 2, labels, labels, torch.zeros(2, 10))
        >>> metric = PointingGame(tolerance=0)
        >>> metric.update(explanation, Batch(boxes=boxes))
        >>> metric.compute()["pointing_game"].item()
        0.5
    """

    higher_is_better = True
    trials: list[Tensor]
    skipped: Tensor

    @checked
    def __init__(self, tolerance: NonNegative = 15.0) -> None:
        super().__init__()
        self.tolerance = tolerance
        # Class, outcome and difficulty of each trial in one flat tensor: for a rank without a batch torchmetrics gathers an
        # empty one-dimensional tensor of the metric's own dtype.
        self.add_state("trials", [], dist_reduce_fx="cat")
        self.add_sum("skipped")

    def update(self, explanation: Explanation, batch: Batch) -> None:
        """Updates the state with one batch that has ``boxes``; the classes are ``explanation.target``."""
        maps = explanation.aggregate()[:, 0]
        boxes = [of_image.to(maps.device) for of_image in boxes_of_classes(batch, explanation.target)]
        size = (maps.shape[1], maps.shape[2])
        difficult = [
            _is_difficult(label, batch, image, size) for image, label in enumerate(explanation.target.tolist())
        ]
        outcomes = pointing_hit(maps, boxes, self.tolerance)
        trials = torch.stack([explanation.target.to(outcomes), outcomes, outcomes.new_tensor(difficult)], dim=1)
        annotated = [image for image, of_image in enumerate(boxes) if len(of_image)]
        self.trials.append(trials[annotated].flatten().to(self.dtype))
        self.skipped += len(boxes) - len(annotated)

    def compute(self) -> dict[str, Tensor]:
        """The mean share of hits over all pairs and over the difficult ones, and the number of pairs of each outcome."""
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


def _is_difficult(label: int, batch: Batch, image: int, size: tuple[int, int]) -> bool:
    if "box_labels" not in batch:
        return False
    flags = batch["box_difficult"][image] if "box_difficult" in batch else None
    return is_difficult(batch["boxes"][image], batch["box_labels"][image], label, size, flags)


def _mean_over_classes(classes: Tensor, hits: Tensor) -> Tensor:
    """The mean over classes of the share of hits; NaN without trials."""
    of_class = torch.bincount(classes.long()).nonzero() == classes
    return ((of_class & hits).sum(dim=1) / of_class.sum(dim=1)).mean()
