"""Salient object detection: heatmaps as segmentations of the annotated object (section 4.4.2 of Du et al., KDD 2018)."""

import torch
from torch import Tensor

from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.metrics.base import ExplanationMetric, masks_of
from vitrine.metrics.functional import SALIENCY_LEVELS, degenerate, saliency_curves, saliency_scores

SCORES = ("precision", "recall", "f", "mae")
WORST_SCORES = (0.0, 0.0, 0.0, 1.0)
"""Of a degenerate map."""


class SaliencyDetection(ExplanationMetric):
    """Precision, recall, F_β (β² = 0.3) and mean absolute error of the aggregated heatmap against ``batch["mask"]``.

    For the first three, pixels of twice the heatmap's mean or more are on; the error is taken of the heatmap min–max scaled
    to [0, 1]. All are computed for each image and averaged over images. So is F at the thresholds t / 255 of the scaled
    heatmap, t = 0 … 255, whose maximum and mean over t are reported. A degenerate map has the worst scores, P = R = F = 0
    and an error of 1; such maps are counted. Images with an empty mask are skipped and counted.

    Example:
        >>> maps = torch.zeros(1, 1, 8, 8)
        >>> maps[..., :4] = 1
        >>> mask = (maps > 0).to(torch.uint8)
        >>> label = torch.tensor([0])
        >>> explanation = Explanation(maps, torch.ones(1, 1), [["all"]], label, label, torch.zeros(1, 10))
        >>> metric = SaliencyDetection()
        >>> metric.update(explanation, Batch(mask=mask))
        >>> figures = metric.compute()
        >>> figures["saliency/f"].item(), figures["saliency/mae"].item()
        (1.0, 0.0)
    """

    higher_is_better = True
    scores: Tensor
    f_curve: Tensor
    measured: Tensor
    degenerate: Tensor
    skipped: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, length in (("scores", len(WORST_SCORES)), ("f_curve", SALIENCY_LEVELS)):
            self.add_state(name, torch.zeros(length, dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("measured", "degenerate", "skipped"):
            self.add_sum(name)

    def update(self, explanation: Explanation, batch: Batch) -> None:
        """Updates the state with one batch that has ``mask``.

        Raises:
            ValueError: for masks of another number or size than the heatmaps.
        """
        maps = explanation.aggregate()[:, 0].detach()
        masks = masks_of(batch, maps)
        annotated = (masks != 0).flatten(1).any(dim=1)
        maps, masks = maps[annotated], masks[annotated]
        is_degenerate = degenerate(maps)[:, None]
        scores = torch.stack(saliency_scores(maps, masks), dim=1)
        scores = torch.where(is_degenerate, scores.new_tensor(WORST_SCORES), scores)
        of_rows = scores.new_full((len(annotated), len(SCORES)), torch.nan, dtype=torch.float64)
        of_rows[annotated] = scores.double()
        self.row_values = {f"saliency/{name}": of_rows[:, column] for column, name in enumerate(SCORES)}
        self.scores += scores.sum(dim=0)
        self.f_curve += saliency_curves(maps, masks).f.masked_fill(is_degenerate, 0).sum(dim=0)
        self.measured += annotated.sum()
        self.degenerate += is_degenerate.sum()
        self.skipped += (~annotated).sum()

    def compute(self) -> dict[str, Tensor]:
        """The means, in [0, 1], and the numbers of degenerate maps and of images without a mask."""
        curve = self.f_curve / self.measured
        figures = {
            **{f"saliency/{name}": score for name, score in zip(SCORES, self.scores / self.measured, strict=True)},
            "saliency/max_f": curve.max(),
            "saliency/mean_f": curve.mean(),
            "saliency/degenerate": self.degenerate,
            "saliency/skipped": self.skipped,
        }
        return {name: value.float() for name, value in figures.items()}
