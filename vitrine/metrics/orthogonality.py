"""Orthogonality of x-features: how little the heatmaps of different x-features overlap (section 4.1 of Qi et al.)."""

import torch
from torch import Tensor

from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.metrics.base import PerFeatureMetric
from vitrine.metrics.functional import (
    MapMoments,
    map_moments,
    orthogonality_of_moments,
    pixel_probabilities,
    pooled_moments,
)


class Orthogonality(PerFeatureMetric):
    """O₁ and O₂ (`vitrine.metrics.functional.orthogonality`) of each class's heatmaps, averaged over classes.

    The images of a class are those for which it is explained, ``explanation.target``. As in the paper the vector of an
    x-feature consists of its heatmaps on these images, each normalised to `pixel_probabilities`. A heatmap without a positive
    value, or with NaN or infinity, is replaced by zeros and counted as degenerate; one that is not valid is set to
    zero as well, without being counted. An x-feature that is zero on all images of a class is left out of that class and,
    unless it is valid on none of them, counted as inactive.

    A class whose correlation matrix P is singular has O₂ = ∞: it is counted, and left out of the mean of O₂ only. A class
    with an x-feature of no variance is undefined: it is counted and left out of both means. So is a class with a single
    x-feature, as where an explainer draws one map an image: its O₁ = O₂ = 0 would be the best value without any merit.

    The state is K² + 2K + 3 numbers an image, whatever the size of the heatmaps.

    Example:
        >>> maps = torch.zeros(1, 2, 8, 8)  # two x-features on the two halves of the image
        >>> maps[0, 0, :, :4], maps[0, 1, :, 4:] = 1, 1
        >>> label = torch.tensor([0])
        >>> metric = Orthogonality()
        >>> metric.update(Explanation(maps, torch.ones(1, 2), [["a", "b"]], label, label, torch.zeros(1, 10)), Batch())
        >>> round(metric.compute()["orthogonality/o1"].item(), 4)  # their correlation is −1: √4 − √2
        0.5858
    """

    higher_is_better = False
    degenerate: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_sum("degenerate")

    def update(self, explanation: Explanation, batch: Batch) -> None:  # noqa: ARG002
        """Updates the state with one batch; K must be the same in all batches."""
        maps, valid = explanation.heatmaps.detach(), explanation.valid
        probabilities = pixel_probabilities(maps.flatten(0, 1)).view(maps.shape)
        self.degenerate += (valid & probabilities.isnan().any(dim=(2, 3))).sum()
        pixels, mean, scatter = map_moments(probabilities.nan_to_num(0) * valid[..., None, None])
        counts = torch.full_like(pixels, maps.shape[1])
        header = torch.stack([counts, explanation.target.to(pixels), pixels], dim=1)
        record = torch.cat([header, valid, mean, scatter.flatten(1)], dim=1)
        self.records.append(record.flatten().to(self.device))

    def compute(self) -> dict[str, Tensor]:
        """Means of O₁ and O₂ over the classes where they are finite, and the numbers of classes and heatmaps left out."""
        by_class, inactive = self._by_class()
        figures = torch.stack(list(by_class.values())) if by_class else torch.zeros(0, 2, device=self.device)
        o1, o2 = figures.unbind(dim=1)
        return {
            "orthogonality/o1": o1[o1.isfinite()].mean().float(),
            "orthogonality/o2": o2[o2.isfinite()].mean().float(),
            "orthogonality/singular": o2.isposinf().sum().float(),
            "orthogonality/undefined": o2.isnan().sum().float(),
            "orthogonality/inactive": torch.tensor(float(inactive), device=self.device),
            "orthogonality/degenerate": self.degenerate.float(),
        }

    def by_class(self) -> dict[int, Tensor]:
        """(2,) float64 O₁ and O₂ of each explained class, over all ranks; a collective."""
        with self.sync_context():
            return self._by_class()[0]

    def _by_class(self) -> tuple[dict[int, Tensor], int]:
        """O₁ and O₂ of each class, and the number of inactive x-features."""
        flat = self.flat_records()
        if len(flat) == 0:
            return {}, 0
        n = int(flat[0])
        widths = [1, 1, 1, n, n, n * n]
        _, labels, pixels, valid, mean, scatter = torch.split(flat.reshape(-1, sum(widths)), widths, dim=1)
        moments = MapMoments(pixels[:, 0], mean, scatter.reshape(-1, n, n))
        by_class, inactive = {}, 0
        for label in torch.unique(labels).tolist():
            of_class = labels[:, 0] == label
            active = (mean[of_class] != 0).any(dim=0)  # the maps are not negative
            inactive += int((valid[of_class].any(dim=0) & ~active).sum())
            by_class[int(label)] = _orthogonality(MapMoments(*(value[of_class] for value in moments)), active)
        return by_class, inactive


def _orthogonality(moments: MapMoments, active: Tensor) -> Tensor:
    """(2,) O₁ and O₂ of a class's active x-features, from the moments of its images."""
    if int(active.sum()) < 2:
        return moments.mean.new_full((2,), torch.nan)
    pixels, mean, scatter = pooled_moments(moments)
    return torch.stack(orthogonality_of_moments(MapMoments(pixels, mean[active], scatter[active][:, active])))
