"""Localisation error: whether the tightest box of a heatmap fits the object (section 4.2 of Du et al., KDD 2018)."""

from collections.abc import Mapping
from typing import Annotated

import torch
from torch import Tensor
from typing_extensions import override

from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.core.options import Range, checked
from vitrine.metrics.base import Curve, ExplanationMetric, boxes_of_classes
from vitrine.metrics.functional import LOCALIZATION_ALPHAS, REQUIRED_IOU, localization_ious

DEFAULT_ALPHA = 1.0
"""α where none was chosen: pixels above the mean are on."""


class LocalizationError(ExplanationMetric):
    """Share of images on which the tightest box of the aggregated heatmap misses the object.

    The heatmap is on where it exceeds α times its mean; the tightest box around all that is on must have an IoU above 0.5
    with a box of the explained class (with any box where the data set has no ``box_labels``). Images without such a box are
    skipped and counted. A degenerate map is a failure at every α, and is also counted separately.

    The errors are computed at all α = 0, 0.5 … 10. The best of them, the lowest, is tuned on the very images that it is
    measured on; for an unbiased error tune α on training images, as the paper does, and pass it as ``alpha``.

    Args:
        alpha: α of the reported error, such as the best one on training images; the best one on these very images without
            it, which a test never takes (see `metrics_for`).
        largest_component: whether the box is that of the largest 8-connected component, not of all that is on.
        every_alpha: whether ``row_values`` has the errors of single images at each α too, as ``localization/error/0.5``.

    Raises:
        OptionError: for an α that is not finite.

    Example:
        >>> maps = torch.zeros(2, 1, 8, 8)
        >>> maps[:, :, 2:6, 2:6] = 1
        >>> labels, boxes = torch.tensor([0, 0]), [torch.tensor([[2.0, 2, 6, 6]]), torch.tensor([[0.0, 0, 2, 2]])]
        >>> explanation = Explanation(maps, torch.ones(2, 1), [["all"]] * 2, labels, labels, torch.zeros(2, 10))
        >>> metric = LocalizationError(alpha=1.0)
        >>> metric.update(explanation, Batch(boxes=boxes))
        >>> metric.compute()["localization/error"].item()  # the second image is missed
        0.5
    """

    higher_is_better = False
    failures: Tensor
    measured: Tensor
    degenerate: Tensor
    skipped: Tensor

    @checked
    def __init__(
        self,
        alpha: Annotated[float, Range()] | None = None,
        largest_component: bool = False,
        every_alpha: bool = False,
    ) -> None:
        super().__init__()
        self.alpha, self.largest_component, self.every_alpha = alpha, largest_component, every_alpha
        self.alphas = LOCALIZATION_ALPHAS if alpha is None else (*LOCALIZATION_ALPHAS, alpha)
        self.add_state("failures", torch.zeros(len(self.alphas), dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("measured", "degenerate", "skipped"):
            self.add_sum(name)

    @property
    @override
    def settings(self) -> Mapping[str, str]:
        """Which α the error is taken at."""
        return {"localization/error": "the α best on these images" if self.alpha is None else f"α = {self.alpha:g}"}

    def update(self, explanation: Explanation, batch: Batch) -> None:
        """Updates the state with one batch that has ``boxes``; the classes are ``explanation.target``."""
        maps = explanation.aggregate()[:, 0].detach()
        boxes = boxes_of_classes(batch, explanation.target)
        annotated = torch.tensor([len(of_image) > 0 for of_image in boxes], dtype=torch.bool, device=maps.device)
        ious = localization_ious(maps, boxes, self.alphas, largest_component=self.largest_component)[annotated]
        failures = ~(ious > REQUIRED_IOU)
        values = torch.full((len(boxes), len(self.alphas)), torch.nan, dtype=torch.float64, device=maps.device)
        values[annotated] = failures.double()
        self.row_values = self._by_figure(values)
        self.failures += failures.sum(dim=0)
        self.measured += annotated.sum()
        self.degenerate += ious[:, 0].isnan().sum()
        self.skipped += (~annotated).sum()

    def _by_figure(self, values: Tensor) -> dict[str, Tensor]:
        """The (R, A) errors of single images that are kept, by figure."""
        kept = {} if self.alpha is None else {"localization/error": values[:, -1]}
        if self.every_alpha:
            kept |= {f"localization/error/{alpha:g}": values[:, n] for n, alpha in enumerate(LOCALIZATION_ALPHAS)}
        return kept

    def compute(self) -> dict[str, Tensor]:
        """The error and its α, the lowest error and the lowest α that has it, and the two counts."""
        curve = self.error_curve()
        best = curve.argmin()
        best_alpha = torch.tensor(LOCALIZATION_ALPHAS, device=curve.device)[best].masked_fill(
            curve[best].isnan(), torch.nan
        )
        is_fixed = self.alpha is not None
        figures = {
            "localization/error": self.failures[-1] / self.measured if is_fixed else curve[best],
            "localization/alpha": torch.full_like(best_alpha, self.alpha or 0.0) if is_fixed else best_alpha,
            "localization/best_error": curve[best],
            "localization/best_alpha": best_alpha,
            "localization/degenerate": self.degenerate,
            "localization/skipped": self.skipped,
        }
        return {name: value.float() for name, value in figures.items()}

    def error_curve(self) -> Tensor:
        """(21,) float64: the error at each α = 0, 0.5 … 10 over the images so far (figure 6 of the paper)."""
        return self.failures[: len(LOCALIZATION_ALPHAS)] / self.measured

    @override
    def curves(self) -> Mapping[str, Curve]:
        """`error_curve`."""
        return {
            "localization": Curve(list(LOCALIZATION_ALPHAS), self.error_curve().tolist(), "α", "localisation error")
        }
