"""Pointing game: whether the maximum of a heatmap lies on an object of the explained class (Zhang et al., ECCV 2016)."""

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat
from typing_extensions import override

from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.core.options import NonNegative, checked
from vitrine.metrics.base import ExplanationMetric, boxes_of_classes
from vitrine.metrics.functional import degenerate, is_difficult, maximum_point, points_hit, source_pixels


class PointingGame(ExplanationMetric):
    """Share of (image, class) pairs whose aggregated heatmap has its maximum on an object of the class: hits / trials.

    Each sample of a batch is one pair: the class is the explained one, and the boxes are those of that class (all boxes where
    the data set has no ``box_labels``). A sample without such a box is no trial; it is skipped and counted. A degenerate map
    is a trial without a hit, and is counted separately from misses. The accuracy is computed for each class and averaged
    over the classes with a trial; so is that of the difficult subset (`is_difficult`), which only sets with ``box_labels``
    have.

    The game is played on the source image, as in both papers: the maximum of the map at the network's input size, the first
    in row order, is taken to the pixel of the source that shows the middle of its pixel, which is where a map that is
    enlarged bilinearly to the source has its maximum. Boxes, tolerance and the subset are those of the source, so a crop
    makes the game harder: an object that it cuts away is in the game, and cannot be hit but within the tolerance. A batch
    says by its entries ``source_…`` where the input lies in its source; without them, images are taken for the sources.

    Args:
        tolerance: distance to a box up to which a maximum is a hit, in pixels of the source: 0 in Du et al. (KDD 2018), 15 in
            Zhang et al. (on VOC, whose images are some 500 pixels wide).

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
    def __init__(self, tolerance: NonNegative = 0.0) -> None:
        super().__init__()
        self.tolerance = tolerance
        self._warned = False
        # Class, outcome and difficulty of each trial in one flat tensor: for a rank without a batch torchmetrics gathers an
        # empty one-dimensional tensor of the metric's own dtype.
        self.add_state("trials", [], dist_reduce_fx="cat")
        self.add_sum("skipped")

    @property
    @override
    def settings(self) -> Mapping[str, str]:
        """The tolerance."""
        return {"pointing_game": f"tolerance {self.tolerance:g} px of the image"}

    def update(self, explanation: Explanation, batch: Batch) -> None:
        """Updates the state with one batch that has ``boxes``; the classes are ``explanation.target``.

        Raises:
            ValueError: for a batch without boxes, or boxes and labels of another number than its images.
        """
        maps, targets = explanation.aggregate()[:, 0].detach(), explanation.target
        source, sizes = self._source(batch, maps)
        boxes = boxes_of_classes(source, targets)
        points = maximum_point(maps).cpu()
        if "source_window" in batch:
            points = source_pixels(points, (maps.shape[1], maps.shape[2]), batch["source_window"], sizes)
        hits = points_hit(points, boxes, self.tolerance).to(maps.device)
        outcomes = hits.masked_fill(degenerate(maps), torch.nan)
        difficult = [
            _is_difficult(label, source, image, (int(height), int(width)))
            for image, (label, (height, width)) in enumerate(zip(targets.tolist(), sizes.tolist(), strict=True))
        ]
        trials = torch.stack([targets.to(outcomes), outcomes, outcomes.new_tensor(difficult)], dim=1)
        annotated = [image for image, of_image in enumerate(boxes) if len(of_image)]
        values = torch.full((len(boxes),), torch.nan, dtype=torch.float64)
        values[annotated] = outcomes.nan_to_num(0).double().cpu()[annotated]
        self.row_values = {"pointing_game": values}
        self.trials.append(trials[annotated].flatten().to(self.dtype))
        self.skipped += len(boxes) - len(annotated)

    def _source(self, batch: Batch, maps: Tensor) -> tuple[Batch, Tensor]:
        """Boxes, their classes and flags in the source images, and the (B, 2) height and width of these."""
        if "source_window" in batch:
            entries: Any = {
                name: batch[f"source_{name}"]  # type: ignore[literal-required]
                for name in ("boxes", "box_labels", "box_difficult")
                if f"source_{name}" in batch
            }
            return entries, batch["source_size"].cpu()
        if self.tolerance and not self._warned:
            self._warned = True
            warnings.warn(
                f"Batches do not say how large the source images are (source_size and source_window): the pointing game's"
                f" tolerance of {self.tolerance:g} counts pixels of the network's input.",
                stacklevel=4,  # past torchmetrics' own frame
            )
        return batch, torch.tensor([maps.shape[1:]] * len(maps)).reshape(-1, 2)

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
