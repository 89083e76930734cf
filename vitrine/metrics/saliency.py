"""Whether heatmaps segment the annotated object (section 4.4.2 of Du, Liu, Song and Hu, KDD 2018)."""

import torch
from torch import Tensor

from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.metrics.base import ExplanationMetric
from vitrine.metrics.functional import SALIENCY_LEVELS, degenerate, saliency_curves, saliency_scores

WORST = (0.0, 0.0, 0.0, 1.0)  # precision, recall, F and mean absolute error


class SaliencyDetection(ExplanationMetric):
    """Precision, recall, F_β (β² = 0.3) and mean absolute error of the aggregated heatmap against ``batch["mask"]``.

    The heatmap is on where it is twice its mean or more; the error is that of the heatmap scaled to 0 … 1. All are taken
    image by image and then averaged. So is F at the thresholds t / 255 of the scaled heatmap, of which the maximum and the
    mean are reported. A degenerate map has the worst of everything, P = R = F = 0 and an error of 1, and is counted. An
    image whose mask is empty is left out and counted as skipped.
    """

    higher_is_better = True
    scores: Tensor
    f_curve: Tensor
    measured: Tensor
    degenerate: Tensor
    skipped: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, length in (("scores", len(WORST)), ("f_curve", SALIENCY_LEVELS)):
            self.add_state(name, torch.zeros(length, dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("measured", "degenerate", "skipped"):
            self.add_sum(name)

    def update(self, explanation: Explanation, batch: Batch) -> None:
        """Takes in one batch."""
        maps = explanation.aggregate()[:, 0].detach()
        masks = batch["mask"][:, 0].to(maps.device)
        annotated = (masks != 0).flatten(1).any(dim=1)
        maps, masks = maps[annotated], masks[annotated]
        spoilt = degenerate(maps)[:, None]
        scores = torch.stack(saliency_scores(maps, masks), dim=1)
        self.scores += torch.where(spoilt, scores.new_tensor(WORST), scores).sum(dim=0)
        self.f_curve += saliency_curves(maps, masks).f.masked_fill(spoilt, 0).sum(dim=0)
        self.measured += annotated.sum()
        self.degenerate += spoilt.sum()
        self.skipped += (~annotated).sum()

    def compute(self) -> dict[str, Tensor]:
        """The means in [0, 1], and how many maps were degenerate and images without a mask."""
        precision, recall, f, mae = self.scores / self.measured
        curve = self.f_curve / self.measured
        figures = {
            "saliency/precision": precision,
            "saliency/recall": recall,
            "saliency/f": f,
            "saliency/mae": mae,
            "saliency/max_f": curve.max(),
            "saliency/mean_f": curve.mean(),
            "saliency/degenerate": self.degenerate,
            "saliency/skipped": self.skipped,
        }
        return {name: value.float() for name, value in figures.items()}
