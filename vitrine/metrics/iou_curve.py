"""IoU curve: overlap of thresholded heatmaps with annotated masks (section 4.3 of Oramas et al., ICLR 2019)."""

from collections.abc import Mapping

import torch
from torch import Tensor
from typing_extensions import override

from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.metrics.base import Curve, ExplanationMetric, masks_of
from vitrine.metrics.functional import IOU_THRESHOLDS, area_under_iou, degenerate, iou_at_thresholds


class IoUCurve(ExplanationMetric):
    """Area under the mean intersection over union of the aggregated heatmap and ``batch["mask"]``, in percent.

    A heatmap is min–max scaled to [0, 1] and thresholded at t = 0, 0.01 … 1, where pixels of t or more are on; at each t the
    IoU is averaged over images. A degenerate map has an IoU of 0 at every t, so it lowers the mean; such maps are counted.
    Images with an empty mask are skipped and counted.

    Example:
        >>> maps = torch.zeros(1, 1, 8, 8)
        >>> maps[..., :4] = 1
        >>> mask = (maps > 0).to(torch.uint8)
        >>> label = torch.tensor([0])
        >>> explanation = Explanation(maps, torch.ones(1, 1), [["all"]], label, label, torch.zeros(1, 10))
        >>> metric = IoUCurve()
        >>> metric.update(explanation, Batch(mask=mask))
        >>> metric.compute()["iou"].item()  # 100 % but for t = 0, at which the whole map is on
        99.75
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
        """Updates the state with one batch that has ``mask``.

        Raises:
            ValueError: for masks of another number or size than the heatmaps.
        """
        maps = explanation.aggregate()[:, 0].detach()
        curves = iou_at_thresholds(maps, masks_of(batch, maps))
        annotated = ~curves.isnan().any(dim=1)
        self.row_values = {"iou": area_under_iou(curves)}
        self.overlaps += curves[annotated].sum(dim=0)
        self.measured += annotated.sum()
        self.degenerate += (degenerate(maps) & annotated).sum()
        self.skipped += (~annotated).sum()

    def compute(self) -> dict[str, Tensor]:
        """The area, the mean IoU at the best threshold, and the numbers of degenerate maps and of images without a mask."""
        curve = self.overlaps / self.measured
        return {
            "iou": area_under_iou(curve).float(),
            "iou/best": 100 * curve.max().float(),
            "iou/degenerate": self.degenerate.float(),
            "iou/skipped": self.skipped.float(),
        }

    @override
    def curves(self) -> Mapping[str, Curve]:
        """The mean IoU over the threshold."""
        overlaps = (self.overlaps / self.measured).tolist()
        return {"iou": Curve(list(IOU_THRESHOLDS), overlaps, "threshold", "IoU")}
