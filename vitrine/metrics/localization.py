"""Whether the box around what a heatmap shows fits the object (section 4.2 of Du, Liu, Song and Hu, KDD 2018)."""

import math

import torch
from torch import Tensor

from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.metrics.base import ExplanationMetric, boxes_of_classes
from vitrine.metrics.functional import LOCALIZATION_ALPHAS, REQUIRED_IOU, localization_ious


class LocalizationError(ExplanationMetric):
    """Share of images of which the box around what the aggregated heatmap shows misses the object.

    The heatmap is on where it exceeds α times its mean; the tightest box of all that is on must have an IoU above 0.5 with a
    box of the explained class (with any box where the data set has no ``box_labels``). An image without such a box is left
    out and counted as skipped. A degenerate map is a failure at every α, and is counted apart as well.

    Errors are taken at all α = 0, 0.5 … 10. The best of them, the lowest, is tuned on the very images that it is measured
    on; for a fair figure tune α on training images, as the paper does, and give it.

    Args:
        alpha: α at which the error is reported, such as the best one of training images; the best one without it.
        largest_component: whether only the largest 8-connected component of what is on counts, in place of all.

    Raises:
        ValueError: for an α that is not a finite number.
    """

    higher_is_better = False
    failures: Tensor
    measured: Tensor
    degenerate: Tensor
    skipped: Tensor

    def __init__(self, alpha: float | None = None, largest_component: bool = False) -> None:
        super().__init__()
        if alpha is not None and not math.isfinite(alpha):
            raise ValueError(f"alpha is {alpha}; give a finite number, or none.")
        self.alpha, self.largest_component = alpha, largest_component
        self.alphas = LOCALIZATION_ALPHAS if alpha is None else (*LOCALIZATION_ALPHAS, alpha)
        self.add_state("failures", torch.zeros(len(self.alphas), dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("measured", "degenerate", "skipped"):
            self.add_sum(name)

    def update(self, explanation: Explanation, batch: Batch) -> None:
        """Takes in one batch; the explained classes are ``explanation.target``."""
        maps = explanation.aggregate()[:, 0].detach()
        boxes = boxes_of_classes(batch, explanation.target)
        annotated = torch.tensor([len(found) > 0 for found in boxes], dtype=torch.bool, device=maps.device)
        ious = localization_ious(maps, boxes, self.alphas, largest_component=self.largest_component)[annotated]
        self.failures += (~(ious > REQUIRED_IOU)).sum(dim=0)
        self.measured += annotated.sum()
        self.degenerate += ious[:, 0].isnan().sum()
        self.skipped += (~annotated).sum()

    def compute(self) -> dict[str, Tensor]:
        """The error and its α, the lowest error of all and the lowest α that has it, and two counts."""
        curve = self.error_curve()
        best = curve.argmin()
        best_alpha = torch.tensor(LOCALIZATION_ALPHAS, device=curve.device)[best].masked_fill(
            curve[best].isnan(), torch.nan
        )
        given = self.alpha is not None
        figures = {
            "localization/error": self.failures[-1] / self.measured if given else curve[best],
            "localization/alpha": torch.full_like(best_alpha, self.alpha or 0.0) if given else best_alpha,
            "localization/best_error": curve[best],
            "localization/best_alpha": best_alpha,
            "localization/degenerate": self.degenerate,
            "localization/skipped": self.skipped,
        }
        return {name: value.float() for name, value in figures.items()}

    def error_curve(self) -> Tensor:
        """(21,) float64: the error at each α = 0, 0.5 … 10 over what this metric has taken in (figure 6 of the paper)."""
        return self.failures[: len(LOCALIZATION_ALPHAS)] / self.measured
