"""Overlap of thresholded heatmaps with the annotated masks (section 4.3 of Oramas et al., ICLR 2019)."""

import torch
from torch import Tensor

from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.metrics.base import ExplanationMetric
from vitrine.metrics.functional import IOU_THRESHOLDS, area_under_iou, degenerate, iou_at_thresholds


class IoUCurve(ExplanationMetric):
    """Area under the mean intersection over union of the aggregated heatmap and ``batch["mask"]``, in percent.

    A heatmap is scaled to 0 … 1 and on where it is t or more; at each t = 0, 0.01 … 1 the mean is taken over images. A
    degenerate map overlaps with nothing: it lowers the mean, and is counted. An image whose mask is empty is left out and
    counted as skipped.
    """

    higher_is_better = True
    overlaps: Tensor
    measured: Tensor
    degenerate: Tensor
    skipped: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("overlaps", torch.zeros(len(IOU_THRESHOLDS), dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("measured", "degenerate", "skipped"):
            self.add_sum(name)

    def update(self, explanation: Explanation, batch: Batch) -> None:
        """Takes in one batch."""
        maps = explanation.aggregate()[:, 0].detach()
        curves = iou_at_thresholds(maps, batch["mask"][:, 0].to(maps.device))
        annotated = ~curves.isnan().any(dim=1)
        self.overlaps += curves[annotated].sum(dim=0)
        self.measured += annotated.sum()
        self.degenerate += (degenerate(maps) & annotated).sum()
        self.skipped += (~annotated).sum()

    def compute(self) -> dict[str, Tensor]:
        """The area, the mean IoU at the best threshold, and how many maps were degenerate and images without a mask."""
        curve = self.overlaps / self.measured
        return {
            "iou": area_under_iou(curve).float(),
            "iou/best": 100 * curve.max().float(),
            "iou/degenerate": self.degenerate.float(),
            "iou/skipped": self.skipped.float(),
        }
