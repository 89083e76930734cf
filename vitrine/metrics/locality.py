"""Locality of x-features: how few parts or objects their heatmaps cover (section 4.1 of Qi et al.)."""

from typing import Literal

import torch
from torch import Tensor

from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.core.options import checked
from vitrine.metrics.base import PerFeatureMetric, annotation, heatmaps_by_image
from vitrine.metrics.functional import locality, object_probabilities, parts_in_box, voronoi_part_probabilities

SCORE = -1
"""Stands for a part or object in the records where the mass is the x-feature's score."""
IDLE = 0.01
"""Share of a class's absolute scores up to which an x-feature is idle."""


class Locality(PerFeatureMetric):
    """Entropy, in nats, of each x-feature's distribution over parts or objects, averaged over x-features and classes.

    The images of a class are those for which it is explained, ``explanation.target``. For each x-feature the histograms of
    these images (`voronoi_part_probabilities` or `object_probabilities`) are averaged, and the `locality` of the average is
    taken; then the mean over the x-features of a class, and over classes.

    With ``parts`` the box is the image's first, or the whole image where the batch has no boxes (then there is no context).
    Images without a visible part in their box, or without a labelled pixel, are left out and counted as unannotated. A
    heatmap without a positive value, or with NaN or infinity, is left out and counted as degenerate; those not valid
    are left out. An x-feature whose average is zero on all parts or objects has no entropy: it is counted as undefined and
    left out of the mean.

    An x-feature on the background has a low entropy and explains nothing, so ``locality/contributing`` is the same mean over
    those alone that contribute: whose mean score over the class's images is above 1 % of all absolute means.
    ``locality/contributing_features`` is how many these are, the mean over classes.

    The state is four numbers for each part or object of each heatmap with a probability above 0, and for its score.

    Args:
        annotation: what the histograms are over, ``parts`` or ``objects``.

    Raises:
        OptionError: for another annotation.

    Example:
        >>> maps = torch.zeros(1, 1, 8, 8)
        >>> maps[..., 1, 1] = maps[..., 6, 6] = 1
        >>> parts = torch.tensor([[[1.0, 1.0, 1.0], [6.0, 6.0, 1.0]]])  # (B, P, 3): x, y, visible
        >>> label = torch.tensor([0])
        >>> metric = Locality("parts")
        >>> explanation = Explanation(maps, torch.ones(1, 1), [["a"]], label, label, torch.zeros(1, 10))
        >>> metric.update(explanation, Batch(parts=parts))
        >>> round(metric.compute()["locality"].item(), 4)  # evenly over two parts: log 2
        0.6931
    """

    higher_is_better = False
    degenerate: Tensor
    unannotated: Tensor

    @checked
    def __init__(self, annotation: Literal["parts", "objects"] = "parts") -> None:
        super().__init__()
        self.annotation = annotation
        self.add_sum("degenerate")
        self.add_sum("unannotated")

    def update(self, explanation: Explanation, batch: Batch) -> None:
        """Updates the state with one batch that has ``parts`` or ``objects``.

        Raises:
            ValueError: for annotations of another number or size than the heatmaps.
        """
        annotated = annotation(batch, self.annotation)
        if len(annotated) != len(explanation):
            raise ValueError(
                f"{self.annotation} are those of {len(annotated)} images, and heatmaps of {len(explanation)}; give both of"
                " the same images."
            )
        histograms_of = _part_histograms if self.annotation == "parts" else _object_histograms
        for image, label, maps, valid in heatmaps_by_image(explanation):
            histograms = histograms_of(maps, batch, image)
            if histograms is None:
                self.unannotated += 1
                continue
            self.degenerate += (valid & histograms.isnan().any(dim=1)).sum()
            scores = explanation.scores[image].detach().to(histograms)
            self.records.append(_sparse(histograms, scores, valid, label).to(self.device))

    def compute(self) -> dict[str, Tensor]:
        """The mean entropy, and the numbers of x-features, heatmaps and images that were left out."""
        by_class, contributing = self._by_class(), self._contributing()
        means = [entropies.nanmean() for entropies in by_class.values()]
        of_contributing = [by_class[label][chosen].nanmean() for label, chosen in contributing.items()]
        counts = [chosen.sum().double() for chosen in contributing.values()]
        undefined = [entropies.isnan().sum() for entropies in by_class.values()]
        empty = torch.zeros(0, device=self.device)
        return {
            "locality": (torch.stack(means) if means else empty).nanmean().float(),
            "locality/contributing": (torch.stack(of_contributing) if means else empty).nanmean().float(),
            "locality/contributing_features": (torch.stack(counts) if means else empty).mean().float(),
            "locality/undefined": (torch.stack(undefined) if undefined else empty).sum().float(),
            "locality/degenerate": self.degenerate.float(),
            "locality/skipped": self.unannotated.float(),
        }

    def by_class(self) -> dict[int, Tensor]:
        """(K,) float64 entropies of each explained class, NaN where undefined, over all ranks; a collective.

        X-features at the end that are valid on no image are left out, so that K can differ between classes.
        """
        with self.sync_context():
            return self._by_class()

    def _by_class(self) -> dict[int, Tensor]:
        classes, features, columns, mass = self.flat_records().reshape(-1, 4).unbind(dim=1)
        by_class = {}
        for label in torch.unique(classes).tolist():
            of_class = (classes == label) & (columns != SCORE)
            histogram = _dense(features[of_class].long(), columns[of_class].long(), mass[of_class])
            by_class[int(label)] = locality(histogram)
        return by_class

    def _contributing(self) -> dict[int, Tensor]:
        """(K,) bool of each explained class: which of its x-features contribute."""
        classes, features, columns, scores = self.flat_records().reshape(-1, 4).unbind(dim=1)
        found = {}
        for label in torch.unique(classes).tolist():
            rows = (classes == label) & (columns == SCORE)
            sums = scores.new_zeros(int(features[rows].max()) + 1).index_add_(0, features[rows].long(), scores[rows])
            found[int(label)] = sums > IDLE * sums.abs().sum()
        return found


class ObjectLocality(Locality):
    """`Locality` over the objects of ``batch["objects"]``.

    Example:
        >>> maps, objects = torch.ones(1, 1, 8, 8), torch.ones(1, 1, 8, 8, dtype=torch.int64)
        >>> objects[..., 4:] = 2
        >>> label = torch.tensor([0])
        >>> metric = ObjectLocality()
        >>> explanation = Explanation(maps, torch.ones(1, 1), [["a"]], label, label, torch.zeros(1, 10))
        >>> metric.update(explanation, Batch(objects=objects))
        >>> round(metric.compute()["locality"].item(), 4)  # evenly over two objects: log 2
        0.6931
    """

    def __init__(self) -> None:
        super().__init__("objects")


def _part_histograms(maps: Tensor, batch: Batch, image: int) -> Tensor | None:
    """(K, P + 1), or None where no part is visible in the box."""
    parts = batch["parts"][image]
    height, width = maps.shape[1:]
    boxes = batch["boxes"][image] if "boxes" in batch else parts.new_tensor([[0, 0, width, height]])
    if len(boxes) == 0 or not bool(parts_in_box(parts, boxes[0]).any()):
        return None
    return voronoi_part_probabilities(maps, parts, boxes[0])


def _object_histograms(maps: Tensor, batch: Batch, image: int) -> Tensor | None:
    """(K, largest id), or None where no pixel is labelled."""
    objects = batch["objects"][image, 0]
    return object_probabilities(maps, objects) if bool(objects.any()) else None


def _sparse(histograms: Tensor, scores: Tensor, valid: Tensor, label: int) -> Tensor:
    """Class, x-feature, column and mass of each entry that is not zero, concatenated, and its score as a column of its own.

    The first column is there for each valid x-feature, also without mass, so that `_dense` knows of it.
    """
    mass = histograms.nan_to_num(0)
    stored = mass != 0
    stored[:, 0] = True
    features, columns = (stored & valid[:, None]).nonzero().unbind(dim=1)
    values = torch.cat([mass[features, columns], scores[valid].nan_to_num(0)])
    own = valid.nonzero().flatten()
    columns = torch.cat([columns, torch.full_like(own, SCORE)])
    features = torch.cat([features, own])
    return torch.stack([torch.full_like(features, label), features, columns, values], dim=1).flatten()


def _dense(features: Tensor, columns: Tensor, mass: Tensor) -> Tensor:
    """(K, P) sums over images; P counts the columns that occur."""
    occurring, column_indices = torch.unique(columns, return_inverse=True)
    histogram = mass.new_zeros(int(features.max()) + 1, len(occurring))
    return histogram.index_put_((features, column_indices), mass, accumulate=True)
