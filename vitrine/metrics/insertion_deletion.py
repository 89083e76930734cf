"""Insertion and deletion metrics of heatmaps (Petsiuk, Das and Saenko, RISE, BMVC 2018)."""

from collections.abc import Callable

from torch import Tensor

from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.core.options import Count, NonNegative, checked
from vitrine.metrics.base import ExplanationMetric, SharedClassifier, annotation
from vitrine.metrics.functional import curve_area, degenerate, deletion_curve, insertion_curve
from vitrine.metrics.functional.checks import checked_images


class InsertionDeletion(ExplanationMetric):
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

    insertion: Tensor
    deletion: Tensor
    measured: Tensor
    degenerate: Tensor

    @checked
    def __init__(self, classify: Callable[[Tensor], Tensor], steps: Count = 50, blur: NonNegative = 11.0) -> None:
        super().__init__()
        self.classify = SharedClassifier(classify, type(self).__name__)
        self.steps, self.blur = steps, blur
        for name in ("insertion", "deletion", "measured", "degenerate"):
            self.add_sum(name)

    def update(self, explanation: Explanation, batch: Batch) -> None:
        """Updates the state with one batch that has ``image``; the classes are ``explanation.target``.

        Raises:
            ValueError: for heatmaps of another size than the images, and for a metric that was unpickled.
        """
        maps = explanation.aggregate()[:, 0].detach().to(annotation(batch, "image").device)
        images = checked_images(batch["image"], maps)
        usable = ~degenerate(maps)
        self.degenerate += (~usable).sum()
        self.measured += usable.sum()
        images, maps, targets = images[usable], maps[usable], explanation.target.to(maps.device)[usable]
        if len(images):
            by_label = explanation.multi_label
            inserted = insertion_curve(
                self.classify, images, maps, targets, self.steps, self.blur, multi_label=by_label
            )
            deleted = deletion_curve(self.classify, images, maps, targets, self.steps, multi_label=by_label)
            self.insertion += curve_area(inserted, maps[0].numel()).sum()
            self.deletion += curve_area(deleted, maps[0].numel()).sum()

    def compute(self) -> dict[str, Tensor]:
        """The mean areas, in [0, 1], and the number of degenerate maps."""
        return {
            "insertion_deletion/insertion_auc": (self.insertion / self.measured).float(),
            "insertion_deletion/deletion_auc": (self.deletion / self.measured).float(),
            "insertion_deletion/degenerate": self.degenerate.float(),
        }
