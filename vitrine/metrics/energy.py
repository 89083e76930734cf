"""Share of a heatmap that lies on the annotated object (energy-based pointing game, Wang et al. 2020)."""

from abc import abstractmethod

import torch
from torch import Tensor

from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.metrics.base import ExplanationMetric
from vitrine.metrics.functional import box_region, energy_inside


class _EnergyInside(ExplanationMetric):
    """Mean share of the aggregated heatmap's positive part inside a region; degenerate maps are counted, not averaged."""

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
    def _region(self, batch: Batch, size: tuple[int, int]) -> Tensor:
        """(B, H, W) bool."""

    def update(self, explanation: Explanation, batch: Batch) -> None:
        """Takes in one batch; an image without annotation is left out and counted."""
        maps = explanation.aggregate()[:, 0]
        region = self._region(batch, (maps.shape[1], maps.shape[2])).to(maps.device)
        annotated = region.flatten(1).any(dim=1)
        share = energy_inside(maps, region)
        measured = annotated & share.isfinite()
        self.inside += share[measured].sum()
        self.area += region[measured].flatten(1).double().mean(dim=1).sum()
        self.measured += measured.sum()
        self.degenerate += (annotated & ~share.isfinite()).sum()
        self.unannotated += (~annotated).sum()

    def compute(self) -> dict[str, Tensor]:
        """The mean share, what a uniform map would score, and how many images could not be measured."""
        name = f"energy_in_{self.region_name}"
        return {
            name: (self.inside / self.measured).float(),
            f"{name}/area": (self.area / self.measured).float(),
            f"{name}/degenerate": self.degenerate.float(),
            f"{name}/skipped": self.unannotated.float(),
        }


class EnergyInMask(_EnergyInside):
    """Share of the heatmap on the pixels of ``batch["mask"]``."""

    region_name = "mask"

    def _region(self, batch: Batch, size: tuple[int, int]) -> Tensor:  # noqa: ARG002
        return batch["mask"][:, 0] != 0


class EnergyInBoxes(_EnergyInside):
    """Share of the heatmap in the union of ``batch["boxes"]``."""

    region_name = "boxes"

    def _region(self, batch: Batch, size: tuple[int, int]) -> Tensor:
        return torch.stack([box_region(boxes, size) for boxes in batch["boxes"]])
