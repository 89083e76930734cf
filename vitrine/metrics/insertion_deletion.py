"""How much of a class the most salient pixels carry (Petsiuk, Das and Saenko, BMVC 2018)."""

from collections.abc import Callable

from torch import Tensor

from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.metrics.base import Borrowed, ExplanationMetric
from vitrine.metrics.functional import check_insertion_deletion, curve_area, degenerate, deletion_curve, insertion_curve


class InsertionDeletion(ExplanationMetric):
    """Mean areas under the curves of insertion (higher is better) and deletion (lower is better).

    Pixels come into the blurred image, or give way to the mean colour, by the falling value of the aggregated heatmap; a
    curve is the softmax probability of the explained class. A degenerate map gives no order: it is left out and counted.

    The network is borrowed: it is no part of the metric's state, copies of the metric share it, and a pickled metric leaves
    it behind. An image costs 2 · (``steps`` + 1) forward passes.

    Args:
        classify: maps (B, 3, H, W) images as the backbone takes them to (B, C) logits, such as
            ``lambda images: backbone(images).logits``; an ``nn.Module`` is put behind glass.
        steps: how many groups of as many pixels come or go one after the other.
        blur: σ in pixels of the Gaussian that blurs the image for insertion.

    Raises:
        ValueError: for steps below 1 or a negative blur.
    """

    insertion: Tensor
    deletion: Tensor
    measured: Tensor
    degenerate: Tensor

    def __init__(self, classify: Callable[[Tensor], Tensor], steps: int = 50, blur: float = 11.0) -> None:
        super().__init__()
        check_insertion_deletion(steps, blur)
        self.classify = Borrowed(classify, type(self).__name__)
        self.steps, self.blur = steps, blur
        for name in ("insertion", "deletion", "measured", "degenerate"):
            self.add_sum(name)

    def update(self, explanation: Explanation, batch: Batch) -> None:
        """Takes in one batch with its ``image``; the explained classes are ``explanation.target``.

        Raises:
            ValueError: for heatmaps that are not of the images' size, and for a metric that was pickled.
        """
        maps = explanation.aggregate()[:, 0].detach().to(batch["image"].device)
        spoilt = degenerate(maps)
        self.degenerate += spoilt.sum()
        self.measured += (~spoilt).sum()
        images, maps, targets = batch["image"][~spoilt], maps[~spoilt], explanation.target.to(maps.device)[~spoilt]
        if len(images):
            inserted = insertion_curve(self.classify, images, maps, targets, self.steps, self.blur)
            deleted = deletion_curve(self.classify, images, maps, targets, self.steps)
            self.insertion += curve_area(inserted, maps[0].numel()).sum()
            self.deletion += curve_area(deleted, maps[0].numel()).sum()

    def compute(self) -> dict[str, Tensor]:
        """The mean areas in [0, 1], and how many maps were degenerate."""
        return {
            "insertion_deletion/insertion_auc": (self.insertion / self.measured).float(),
            "insertion_deletion/deletion_auc": (self.deletion / self.measured).float(),
            "insertion_deletion/degenerate": self.degenerate.float(),
        }
