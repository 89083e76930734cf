"""On how few parts or objects the heatmaps of an x-feature lie (section 4.1 of Qi et al.)."""

from typing import Literal

import torch
from torch import Tensor

from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.metrics.base import RowMetric, present_heatmaps
from vitrine.metrics.functional import locality, object_probabilities, parts_in_box, voronoi_part_probabilities


class Locality(RowMetric):
    """Entropy in nats of what each x-feature has on each part or object, the mean over x-features and classes.

    To a class belong the images for which it is explained, ``explanation.target``. For each of its x-features the histograms
    of those images (`voronoi_part_probabilities` or `object_probabilities`) are averaged, and the `locality` of that average
    is taken; then the mean over the x-features of a class, and over classes.

    With ``parts`` the box is the image's first, or the whole image where the batch has no boxes (then there is no context).
    An image without a visible part in its box, or without a labelled pixel, is left out and counted as unannotated. A heatmap
    without a positive value, or with NaN or infinity in it, is left out and counted as degenerate; one that is absent (its
    label is the empty string) is left out. An x-feature that then has nothing on any part or object has no entropy: it is
    counted as undefined and left out of the mean.

    The state is four numbers for each image, heatmap and part or object that the heatmap touches.

    Args:
        annotation: what the histograms are over, ``parts`` or ``objects``.

    Raises:
        ValueError: for another annotation.
    """

    higher_is_better = False
    degenerate: Tensor
    unannotated: Tensor

    def __init__(self, annotation: Literal["parts", "objects"] = "parts") -> None:
        super().__init__()
        if annotation not in ("parts", "objects"):
            raise ValueError(f"annotation is {annotation!r}: give 'parts' or 'objects'.")
        self.annotation = annotation
        self.add_sum("degenerate")
        self.add_sum("unannotated")

    def update(self, explanation: Explanation, batch: Batch) -> None:
        """Takes in one batch."""
        histograms_of = _on_parts if self.annotation == "parts" else _on_objects
        for row, label, maps, present in present_heatmaps(explanation):
            histograms = histograms_of(maps, batch, row)
            if histograms is None:
                self.unannotated += 1
                continue
            self.degenerate += (present & histograms.isnan().any(dim=1)).sum()
            self.rows.append(_sparse(histograms, present, label).to(self.device))

    def compute(self) -> dict[str, Tensor]:
        """The mean entropy, and how many x-features, heatmaps and images were not measured."""
        found = list(self._by_class().values())
        means = [entropies.nanmean() for entropies in found]
        undefined = [entropies.isnan().sum() for entropies in found]
        empty = torch.zeros(0, device=self.device)
        return {
            "locality": (torch.stack(means) if means else empty).nanmean().float(),
            "locality/undefined": (torch.stack(undefined) if undefined else empty).sum().float(),
            "locality/degenerate": self.degenerate.float(),
            "locality/skipped": self.unannotated.float(),
        }

    def by_class(self) -> dict[int, Tensor]:
        """(K,) float64 entropies of each explained class, NaN where undefined, over all ranks, all of which have to call it.

        Absent x-features at the end are left out, so that K can differ between classes.
        """
        with self.sync_context():
            return self._by_class()

    def _by_class(self) -> dict[int, Tensor]:
        classes, features, columns, mass = self.flat_rows().reshape(-1, 4).unbind(dim=1)
        found = {}
        for label in torch.unique(classes).tolist():
            own = classes == label
            found[int(label)] = locality(_dense(features[own].long(), columns[own].long(), mass[own]))
        return found


class ObjectLocality(Locality):
    """`Locality` over the objects of ``batch["objects"]``."""

    def __init__(self) -> None:
        super().__init__("objects")


def _on_parts(maps: Tensor, batch: Batch, row: int) -> Tensor | None:
    """(K, P + 1), or None where no part is visible in the box."""
    parts = batch["parts"][row]
    height, width = maps.shape[1:]
    boxes = batch["boxes"][row] if "boxes" in batch else parts.new_tensor([[0, 0, width, height]])
    if len(boxes) == 0 or not bool(parts_in_box(parts, boxes[0]).any()):
        return None
    return voronoi_part_probabilities(maps, parts, boxes[0])


def _on_objects(maps: Tensor, batch: Batch, row: int) -> Tensor | None:
    """(K, largest id), or None where no pixel is labelled."""
    objects = batch["objects"][row, 0]
    return object_probabilities(maps, objects) if bool(objects.any()) else None


def _sparse(histograms: Tensor, present: Tensor, label: int) -> Tensor:
    """Class, x-feature, column and mass of what is not zero, end to end.

    The first column stands there for each present x-feature, also without mass, so that none is forgotten.
    """
    mass = histograms.nan_to_num(0)
    kept = mass != 0
    kept[:, 0] = True
    features, columns = (kept & present[:, None]).nonzero().unbind(dim=1)
    classes = torch.full_like(features, label)
    return torch.stack([classes, features, columns, mass[features, columns]], dim=1).flatten()


def _dense(features: Tensor, columns: Tensor, mass: Tensor) -> Tensor:
    """(K, P) sums over images; P are the columns that occur."""
    occurring, places = torch.unique(columns, return_inverse=True)
    histogram = mass.new_zeros(int(features.max()) + 1, len(occurring))
    return histogram.index_put_((features, places), mass, accumulate=True)
