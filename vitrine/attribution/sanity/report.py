"""What a sanity check has found."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

THRESHOLD = 0.5


@dataclass(frozen=True, eq=False)
class SanityReport:
    """Rank correlations of the trained model's maps with those of S models whose layers are re-drawn from the top down.

    A map is degenerate where it is constant or not finite; its correlations are NaN, and no mean counts them.
    """

    layers: tuple[str, ...]
    """S names: stage s has this layer and all above it re-drawn."""
    image_correlation: Tensor
    """(S, B) float64: Spearman's ρ of each image's maps, summed over channels."""
    image_absolute_correlation: Tensor
    """(S, B) float64: the same of the sums' absolute values."""

    @property
    def correlation(self) -> Tensor:
        """(S,): mean ρ over images; NaN where all are degenerate."""
        return self.image_correlation.nanmean(dim=1)

    @property
    def absolute_correlation(self) -> Tensor:
        """(S,): mean ρ of absolute values over images; NaN where all are degenerate."""
        return self.image_absolute_correlation.nanmean(dim=1)

    @property
    def degenerate(self) -> Tensor:
        """(S,) int64: images with a degenerate map, of the trained model or of the stage's."""
        return (self.image_correlation.isnan() | self.image_absolute_correlation.isnan()).sum(dim=1)

    @property
    def likeness(self) -> Tensor:
        """(S,): the larger of `correlation` and `absolute_correlation`."""
        return torch.fmax(self.correlation, self.absolute_correlation)

    @property
    def similarity(self) -> float:
        """What the verdict is about: the larger of `likeness` once all layers are re-drawn and of its mean over the stages.

        The last stage alone would acquit methods such as guided backprop, whose maps stay the same however many of the upper
        layers are re-drawn, and change with the lowest alone. NaN where all maps of the last stage are degenerate.
        """
        return float(torch.maximum(self.likeness[-1], self.likeness.nanmean()))

    def passes(self, threshold: float = THRESHOLD) -> bool:
        """Whether the maps depend on the weights: `similarity` is below the threshold; where it is NaN, they do not pass."""
        return self.similarity < threshold

    def verdict(self, method: str, threshold: float = THRESHOLD) -> str:
        """One sentence that says whether a method passes, and by which figures."""
        if math.isnan(self.similarity):
            return f"{method} cannot be judged: all its maps are constant or not finite once all layers are re-drawn."
        figures = (
            "their rank correlation with those of the trained network, signed or absolute, is"
            f" {float(self.likeness.nanmean()):.2f} over the stages and {float(self.likeness[-1]):.2f} once all layers are"
            f" re-drawn (threshold {threshold:g})"
        )
        if self.passes(threshold):
            return f"{method} passes the sanity check, its maps depend on the weights: {figures}."
        return f"{method} fails the sanity check, its maps hardly depend on the weights: {figures}."

    def rows(self) -> list[dict[str, Any]]:
        """One dict of JSON types a stage; null in place of a mean over no image."""
        columns = (self.correlation, self.absolute_correlation, self.degenerate)
        values = zip(self.layers, *(column.tolist() for column in columns), strict=True)
        return [
            {
                "layer": layer,
                "correlation": _finite(signed),
                "absolute_correlation": _finite(absolute),
                "degenerate": count,
            }
            for layer, signed, absolute, count in values
        ]

    def to_dict(self, threshold: float = THRESHOLD) -> dict[str, Any]:
        """The verdict, what it rests on, and `rows`, in JSON types."""
        return {
            "passes": self.passes(threshold),
            "threshold": threshold,
            "similarity": _finite(self.similarity),
            "stages": self.rows(),
        }

    def __getitem__(self, images: slice | Tensor) -> "SanityReport":
        """The report of some of the images."""
        return SanityReport(self.layers, self.image_correlation[:, images], self.image_absolute_correlation[:, images])

    @staticmethod
    def cat(reports: Sequence["SanityReport"]) -> "SanityReport":
        """Joins reports on several batches of images, by the same method, model and seed."""
        return SanityReport(
            reports[0].layers,
            torch.cat([report.image_correlation for report in reports], dim=1),
            torch.cat([report.image_absolute_correlation for report in reports], dim=1),
        )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
