"""Energy-based pointing game: share of a heatmap inside the annotated object (Wang et al., Score-CAM, 2020)."""

from abc import abstractmethod

import torch
from torch import Tensor

from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.metrics.base import ExplanationMetric, annotation, masks_of
from vitrine.metrics.functional import box_region, energy_inside
from vitrine.metrics.functional.checks import checked_boxes


class _EnergyInside(ExplanationMetric):
    """Mean share of the aggregated heatmap's positive part inside a region; degenerate maps are left out and counted."""

    higher_is_better = True
    region_name: str
    inside: Tensor
    area: Tensor
    measured: Tensor
    degenerate: Tensor
    unannotated: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("inside", "area", "measured", "degenerate", "unannotated"):
            self.add_sum(name)

    @abstractmethod
    def _region(self, batch: Batch, maps: Tensor) -> Tensor:
        """(B, H, W) bool, for (B, H, W) maps."""

    def update(self, explanation: Explanation, batch: Batch) -> None:
        """Updates the state with one batch; images without annotation are left out and counted.

        Raises:
            ValueError: for annotations of another number or size than the heatmaps.
        """
        maps = explanation.aggregate()[:, 0]
        region = self._region(batch, maps)
        annotated = region.flatten(1).any(dim=1)
        share = energy_inside(maps, region)
        measured = annotated & share.isfinite()
        self.row_values = {f"energy_in_{self.region_name}": share.double().masked_fill(~measured, torch.nan)}
        self.inside += share[measured].sum()
        self.area += region[measured].flatten(1).double().mean(dim=1).sum()
        self.measured += measured.sum()
        self.degenerate += (annotated & ~share.isfinite()).sum()
        self.unannotated += (~annotated).sum()

    def compute(self) -> dict[str, Tensor]:
        """The mean share, that of a uniform map, and the numbers of degenerate maps and of images without annotation."""
        name = f"energy_in_{self.region_name}"
        return {
            name: (self.inside / self.measured).float(),
            f"{name}/area": (self.area / self.measured).float(),
            f"{name}/degenerate": self.degenerate.float(),
            f"{name}/skipped": self.unannotated.float(),
        }


class EnergyInMask(_EnergyInside):
    """Mean share of the aggregated heatmap's positive part on the pixels of ``batch["mask"]``; best is 1.

    Example:
        >>> maps, mask = torch.ones(1, 1, 8, 8), torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
        >>> maps[..., :4], mask[..., :4] = 3, 1
        >>> label = torch.tensor([0])
        >>> explanation = Explanation(maps, torch.ones(1, 1), [["all"]], label, label, torch.zeros(1, 10))
        >>> metric = EnergyInMask()
        >>> metric.update(explanation, Batch(mask=mask))
        >>> metric.compute()["energy_in_mask"].item()  # 3 / (3 + 1)
        0.75
    """

    region_name = "mask"

    def _region(self, batch: Batch, maps: Tensor) -> Tensor:
        return masks_of(batch, maps) != 0


class EnergyInBoxes(_EnergyInside):
    """Mean share of the aggregated heatmap's positive part in the union of ``batch["boxes"]``; best is 1.

    Example:
        >>> maps = torch.ones(1, 1, 8, 8)
        >>> maps[..., :4] = 3
        >>> label = torch.tensor([0])
        >>> explanation = Explanation(maps, torch.ones(1, 1), [["all"]], label, label, torch.zeros(1, 10))
        >>> metric = EnergyInBoxes()
        >>> metric.update(explanation, Batch(boxes=[torch.tensor([[0.0, 0.0, 4.0, 8.0]])]))
        >>> metric.compute()["energy_in_boxes"].item()
        0.75
    """

    region_name = "boxes"

    def _region(self, batch: Batch, maps: Tensor) -> Tensor:
        region = torch.zeros_like(maps, dtype=torch.bool)
        for image, boxes in enumerate(checked_boxes(annotation(batch, "boxes"), len(maps))):
            region[image] = box_region(boxes.to(maps.device), (maps.shape[1], maps.shape[2]))
        return region
