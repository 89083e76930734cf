"""How far the heatmaps of different x-features fall on different places (section 4.1 of Qi et al.)."""

import torch
from torch import Tensor

from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.metrics.base import RowMetric, present_heatmaps
from vitrine.metrics.functional import (
    MapMoments,
    map_moments,
    orthogonality_of_moments,
    pixel_probabilities,
    pooled_moments,
)


class Orthogonality(RowMetric):
    """O₁ and O₂ (`vitrine.metrics.functional.orthogonality`) of each class's heatmaps, and their mean over classes.

    To a class belong the images for which it is explained, ``explanation.target``. As in the paper the vector of an x-feature
    is made of its heatmaps on them, each scaled to `pixel_probabilities`. A heatmap without a positive value, or with NaN or
    infinity in it, is a map of zeros there, and is counted as degenerate. So is, but uncounted, a heatmap that is absent (its
    label is the empty string). An x-feature that shows nothing on any image of a class is none of its x-features; unless it
    is absent on all of them, it is counted as silent.

    A class whose P is singular has O₂ = ∞: it is counted, and left out of the mean of O₂ alone. A class in which an x-feature
    shows the same everywhere has no variance and is undefined: it is counted, and left out of both. So is a class with one
    x-feature, as where an explainer draws one map an image: it has nothing to be orthogonal to, and its zeros would pass for
    the best figure.

    The state is K² + 2K + 3 numbers an image, however large the heatmaps are.
    """

    higher_is_better = False
    degenerate: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_sum("degenerate")

    def update(self, explanation: Explanation, batch: Batch) -> None:  # noqa: ARG002
        """Takes in one batch; K is the same in all of them."""
        for _, label, maps, present in present_heatmaps(explanation):
            probabilities = pixel_probabilities(maps)
            self.degenerate += (present & probabilities.isnan().any(dim=(1, 2))).sum()
            counted = probabilities.nan_to_num(0) * present[:, None, None]
            pixels, mean, scatter = (value[0] for value in map_moments(counted[None]))
            head = mean.new_tensor([len(maps), label])
            self.rows.append(torch.cat([head, pixels[None], present, mean, scatter.flatten()]).to(self.device))

    def compute(self) -> dict[str, Tensor]:
        """Means of O₁ and O₂ over the classes where they are finite, and how many classes and heatmaps were not measured."""
        found, silent = self._by_class()
        figures = torch.stack(list(found.values())) if found else torch.zeros(0, 2, device=self.device)
        o1, o2 = figures.unbind(dim=1)
        return {
            "orthogonality/o1": o1[o1.isfinite()].mean().float(),
            "orthogonality/o2": o2[o2.isfinite()].mean().float(),
            "orthogonality/singular": o2.isposinf().sum().float(),
            "orthogonality/undefined": o2.isnan().sum().float(),
            "orthogonality/inactive": torch.tensor(float(silent), device=self.device),
            "orthogonality/degenerate": self.degenerate.float(),
        }

    def by_class(self) -> dict[int, Tensor]:
        """(2,) float64 O₁ and O₂ of each explained class, over all ranks, all of which have to call it."""
        with self.sync_context():
            return self._by_class()[0]

    def _by_class(self) -> tuple[dict[int, Tensor], int]:
        """O₁ and O₂ of each class, and how many x-features are silent."""
        flat = self.flat_rows()
        if len(flat) == 0:
            return {}, 0
        n = int(flat[0])
        widths = [1, 1, 1, n, n, n * n]
        _, labels, pixels, present, mean, scatter = torch.split(flat.reshape(-1, sum(widths)), widths, dim=1)
        moments = MapMoments(pixels[:, 0], mean, scatter.reshape(-1, n, n))
        found, silent = {}, 0
        for label in torch.unique(labels).tolist():
            own = labels[:, 0] == label
            shows = (mean[own] != 0).any(dim=0)  # maps are not negative
            silent += int((present[own].any(dim=0) & ~shows).sum())
            found[int(label)] = _of_class(MapMoments(*(value[own] for value in moments)), shows)
        return found, silent


def _of_class(moments: MapMoments, shows: Tensor) -> Tensor:
    """(2,) O₁ and O₂ of the x-features of a class that show anything, from the moments of its images."""
    if int(shows.sum()) < 2:
        return moments.mean.new_full((2,), torch.nan)
    pixels, mean, scatter = pooled_moments(moments)
    kept = MapMoments(pixels, mean[shows], scatter[shows][:, shows])
    return torch.stack(orthogonality_of_moments(kept))
