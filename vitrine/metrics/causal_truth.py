"""Causal truth of heatmaps: do they rank the parts of a scene as the network does when a part is removed?"""

from collections.abc import Callable

import torch
from torch import Tensor

from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.core.options import Share, checked
from vitrine.metrics.base import ExplanationMetric, SharedClassifier, annotation
from vitrine.metrics.functional import degenerate, energy_inside
from vitrine.metrics.functional.causal_truth import (
    PartReduction,
    logit_drops,
    part_importance,
    rank_correlation,
    with_ties,
)
from vitrine.metrics.functional.checks import checked_tensor


class CausalTruth(ExplanationMetric):
    """Mean rank correlation of the parts' importance in a heatmap with what removing them does to the network.

    The truth is the drop of the explained class's logit on the image rendered without the part: image p of
    ``batch["counterfactuals"]`` lacks object p + 1 of ``batch["objects"]``. The importance is the mean of the aggregated
    heatmap, with its sign, on the part's pixels. A map of the true drops scores 1, a random map 0 in expectation, a reversed
    one -1: the single-deletion protocol of FunnyBirds (Hesse, Schaub-Meyer and Roth, ICCV 2023), which sums over pixels and
    reports (1 + ρ) / 2.

    Parts that the image does not show are left out. A heatmap that is equally important on all parts, or holds NaN on one, is
    counted as degenerate and scores 0, as one is that is constant up to rounding; images with fewer than two visible parts,
    or on which no part's drop differs from another's, are left out and counted as skipped. ``causal_truth/mass`` leaves out
    degenerate maps, maps without a positive value, and images without a causal part.

    The network is no part of the metric's state: copies of the metric share it, and pickles leave it out. An image costs
    P + 1 forward passes.

    Args:
        classify: maps (B, 3, H, W) images, normalised for the backbone, to (B, C) logits; an ``nn.Module`` runs under
            `eval_guard`.
        reduction: ``mean`` over a part's pixels, or ``sum`` as in FunnyBirds, with which a random map scores the correlation
            of drop and area.
        threshold: share of the image's largest drop from which a part counts as causal in ``causal_truth/mass``.

    Raises:
        OptionError: for an unknown reduction, or a threshold outside of 0 to 1.

    Example:
        >>> def classify(images):  # class 0 is what the left half shows
        ...     left = images[..., :4].mean(dim=(1, 2, 3))
        ...     return torch.stack([left, 0 * left], dim=1)
        >>> maps = torch.zeros(1, 1, 8, 8)
        >>> maps[..., :4] = 1
        >>> parts = torch.ones(1, 1, 8, 8, dtype=torch.int64)
        >>> parts[..., 4:] = 2
        >>> image = torch.ones(1, 3, 8, 8)
        >>> without = torch.stack([image * (parts != part) for part in (1, 2)], dim=1)
        >>> label = torch.tensor([0])
        >>> explanation = Explanation(maps, torch.ones(1, 1), [["left"]], label, label, torch.zeros(1, 2))
        >>> metric = CausalTruth(classify)
        >>> metric.update(explanation, Batch(image=image, objects=parts, counterfactuals=without))
        >>> metric.compute()["causal_truth"].item()
        1.0
    """

    higher_is_better = True
    score: Tensor
    mass: Tensor
    measured: Tensor
    with_mass: Tensor
    degenerate: Tensor
    skipped: Tensor

    @checked
    def __init__(
        self, classify: Callable[[Tensor], Tensor], reduction: PartReduction = "mean", threshold: Share = 0.1
    ) -> None:
        super().__init__()
        self.classify = SharedClassifier(classify, type(self).__name__)
        self.reduction, self.threshold = reduction, threshold
        for name in ("score", "mass", "measured", "with_mass", "degenerate", "skipped"):
            self.add_sum(name)

    def update(self, explanation: Explanation, batch: Batch) -> None:
        """Updates the state with one batch that has ``image``, ``objects`` and ``counterfactuals``.

        Raises:
            ValueError: for annotations that are missing or of another size, and for a metric that was unpickled.
        """
        images, without = annotation(batch, "image"), annotation(batch, "counterfactuals")
        maps = explanation.aggregate()[:, 0].detach().to(images.device)
        objects = checked_tensor(annotation(batch, "objects"), "objects", "B, 1, H, W")[:, 0].to(images.device)
        drops = logit_drops(self.classify, images, without, explanation.target.to(images.device))
        importance = part_importance(maps, objects, drops.shape[1], self.reduction)
        visible = part_importance(torch.ones_like(maps), objects, drops.shape[1]).isfinite()
        broken = degenerate(maps) | (~importance.isfinite() & visible).any(dim=1)
        self._add(importance, drops.masked_fill(~visible, torch.nan), broken)
        self._add_mass(maps, objects, drops.masked_fill(~visible, -torch.inf))

    def _add(self, importance: Tensor, drops: Tensor, broken: Tensor) -> None:
        drops = with_ties(drops)
        telling = rank_correlation(drops, drops).isfinite()  # not where all drops are equal
        correlation = rank_correlation(importance, drops).masked_fill(broken, torch.nan)
        without_order = telling & correlation.isnan()
        values = correlation.masked_fill(without_order, 0.0).masked_fill(~telling, torch.nan)
        self.score += values[telling].sum()
        self.measured += telling.sum()
        self.degenerate += without_order.sum()
        self.skipped += (~telling).sum()
        self.row_values = {"causal_truth": values}

    def _add_mass(self, maps: Tensor, objects: Tensor, drops: Tensor) -> None:
        causal = (drops >= self.threshold * drops.amax(dim=1, keepdim=True)) & (drops > 0)
        padded = torch.cat([torch.zeros_like(causal[:, :1]), causal], dim=1)  # of what is no part
        ids = objects.long().flatten(1)
        ids = torch.where((ids >= 0) & (ids <= causal.shape[1]), ids, 0)
        region = padded.gather(1, ids).view_as(objects)
        share = energy_inside(maps, region).masked_fill(~causal.any(dim=1), torch.nan)
        self.mass += share.nansum()
        self.with_mass += share.isfinite().sum()
        self.row_values = {**self.row_values, "causal_truth/mass": share}

    def compute(self) -> dict[str, Tensor]:
        """The mean correlation, the share of the mass on causal parts, and the numbers of degenerate and skipped maps."""
        return {
            "causal_truth": (self.score / self.measured).float(),
            "causal_truth/mass": (self.mass / self.with_mass).float(),
            "causal_truth/degenerate": self.degenerate.float(),
            "causal_truth/skipped": self.skipped.float(),
        }
