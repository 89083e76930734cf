"""Insertion and deletion metrics of heatmaps (Petsiuk, Das and Saenko, RISE, BMVC 2018)."""

from collections.abc import Callable

from torch import Tensor
from typing_extensions import override

from vitrine.core.options import Count, NonNegative, checked
from vitrine.metrics.base import Curve, SharedClassifier
from vitrine.metrics.functional import curve_area, deletion_curve, insertion_curve, step_shares
from vitrine.metrics.row_means import MapRows, RowFigures, RowMeans

NAME = "insertion_deletion"


class InsertionDeletion(RowMeans):
    """Mean areas under the insertion curve (higher is better) and the deletion curve (lower is better).

    Pixels are inserted into the blurred image, or replaced by the mean colour, by falling value of the aggregated heatmap; a
    curve is the probability of the explained class. Degenerate maps rank no pixels: they are left out and counted.

    The network is no part of the metric's state: copies of the metric share it, and pickles leave it out. An image costs
    2 · (``steps`` + 1) forward passes.

    Args:
        classify: maps (B, 3, H, W) images, normalised for the backbone, to (B, C) logits, such as
            ``lambda images: backbone(images).logits``; an ``nn.Module`` runs under `eval_guard`.
        steps: number of groups of equally many pixels that are inserted or deleted one after the other.
        blur: σ of the Gaussian that blurs the image for insertion, in pixels.

    Raises:
        OptionError: for ``steps`` below 1 or a negative ``blur``.

    Example:
        >>> import torch
        >>> from vitrine.core.batch import Batch
        >>> from vitrine.core.explanation import Explanation
        >>> def classify(images):  # class 1 grows with the brightness of the left half
        ...     left = images[..., :4].mean(dim=(1, 2, 3))
        ...     return torch.stack([0 * left, left], dim=1)
        >>> maps = torch.ones(1, 1, 8, 8)
        >>> maps[..., :4] = 2
        >>> label = torch.tensor([1])
        >>> explanation = Explanation(maps, torch.ones(1, 1), [["all"]], label, label, torch.zeros(1, 2))
        >>> metric = InsertionDeletion(classify, steps=4, blur=0)
        >>> metric.update(explanation, Batch(image=torch.full((1, 3, 8, 8), 5.0)))
        >>> round(metric.compute()["insertion_deletion/deletion_auc"].item(), 3)
        0.668
    """

    @checked
    def __init__(self, classify: Callable[[Tensor], Tensor], steps: Count = 50, blur: NonNegative = 11.0) -> None:
        shares = step_shares(steps, steps).tolist()
        super().__init__(
            [f"{NAME}/insertion_auc", f"{NAME}/deletion_auc"],
            {
                f"{NAME}/insertion": Curve(shares, [], "share of pixels inserted", "probability of the class"),
                f"{NAME}/deletion": Curve(shares, [], "share of pixels deleted", "probability of the class"),
            },
        )
        self.classify = SharedClassifier(classify, type(self).__name__)
        self.steps, self.blur = steps, blur

    @override
    def measure(self, rows: MapRows) -> RowFigures:
        by_label, given = rows.explanation.multi_label, (rows.images, rows.maps, rows.targets, self.steps)
        inserted = insertion_curve(self.classify, *given, self.blur, multi_label=by_label)
        deleted = deletion_curve(self.classify, *given, multi_label=by_label)
        pixels = rows.maps[0].numel()
        return RowFigures(
            {
                f"{NAME}/insertion_auc": curve_area(inserted, pixels),
                f"{NAME}/deletion_auc": curve_area(deleted, pixels),
            },
            {f"{NAME}/insertion": inserted, f"{NAME}/deletion": deleted},
        )
