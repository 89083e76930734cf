"""Report of a sanity check: rank correlations by stage, and the verdict."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

THRESHOLD = 0.5
"""Of the similarity, below which a method passes."""


@dataclass(frozen=True, eq=False)
class SanityReport:
    """Rank correlations of the trained model's maps with those of S copies with layers re-initialised from the top.

    A map is degenerate if it is constant or not finite; its correlations are NaN, and means leave them out.
    """

    layers: tuple[str, ...]
    """S names: in stage s, this layer and all above it are re-initialised."""
    image_correlation: Tensor
    """(S, B) float64: Spearman's ρ of each image's maps, summed over channels."""
    image_absolute_correlation: Tensor
    """(S, B) float64: the same for absolute values of the sums."""

    @property
    def correlation(self) -> Tensor:
        """(S,): mean ρ over images; NaN if all are degenerate."""
        return self.image_correlation.nanmean(dim=1)

    @property
    def absolute_correlation(self) -> Tensor:
        """(S,): mean ρ of absolute values over images; NaN if all are degenerate."""
        return self.image_absolute_correlation.nanmean(dim=1)

    @property
    def degenerate(self) -> Tensor:
        """(S,) int64: number of images with a degenerate map, of the trained model or of the stage."""
        return (self.image_correlation.isnan() | self.image_absolute_correlation.isnan()).sum(dim=1)

    @property
    def likeness(self) -> Tensor:
        """(S,): the larger of `correlation` and `absolute_correlation`."""
        return torch.fmax(self.correlation, self.absolute_correlation)

    @property
    def similarity(self) -> float:
        """The larger of `likeness` after all layers are re-initialised and of its mean over stages; the verdict rests on it.

        By the last stage alone, methods such as guided backprop would pass, whose maps hardly change until the lowest layer
        is re-initialised. NaN if all maps of the last stage are degenerate.
        """
        return float(torch.maximum(self.likeness[-1], self.likeness.nanmean()))

    @property
    def image_similarity(self) -> Tensor:
        """(B,): `similarity` of the report on each image alone; NaN if its map of the last stage is degenerate."""
        likeness = torch.fmax(self.image_correlation, self.image_absolute_correlation)
        return torch.maximum(likeness[-1], likeness.nanmean(dim=0))

    def interval(self, level: float = 0.95, draws: int = 1000, seed: int = 0) -> tuple[float, float]:
        """Where `similarity` lies for other images of the same kind: bootstrap percentiles over the images.

        Args:
            level: share of the draws that lie within.
            draws: how many sets of as many images are drawn, with replacement.
            seed: of the draws.

        Returns:
            The lower and the upper end; NaN if all maps of the last stage are degenerate.
        """
        count = self.image_correlation.shape[1]
        rows = torch.randint(count, (draws, count), generator=torch.Generator().manual_seed(seed))
        means = [values[:, rows].nanmean(dim=2) for values in (self.image_correlation, self.image_absolute_correlation)]
        likeness = torch.fmax(*means)  # (S, draws)
        drawn = torch.maximum(likeness[-1], likeness.nanmean(dim=0))
        ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=drawn.dtype)
        low, high = drawn.nanquantile(ends).tolist()
        return low, high

    def passes(self, threshold: float = THRESHOLD) -> bool:
        """Whether the maps depend on the weights: `similarity` is below the threshold, and not NaN."""
        return self.similarity < threshold

    def verdict(self, method: str, threshold: float = THRESHOLD) -> str:
        """One sentence: whether a method passes, and by which figures."""
        if math.isnan(self.similarity):
            return f"{method} cannot be judged: all its maps are constant or not finite once all layers are re-initialised."
        figures = (
            "their rank correlation with those of the trained network, signed or absolute, is"
            f" {float(self.likeness.nanmean()):.2f} over the stages and {float(self.likeness[-1]):.2f} once all layers are"
            f" re-initialised (threshold {threshold:g})"
        )
        if self.passes(threshold):
            return f"{method} passes the sanity check, its maps depend on the weights: {figures}."
        return f"{method} fails the sanity check, its maps hardly depend on the weights: {figures}."

    def rows(self) -> list[dict[str, Any]]:
        """One dict of JSON types for each stage; null for a mean over no image."""
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
        """The verdict, its figures, those of each image, and `rows`, in JSON types."""
        return {
            "passes": self.passes(threshold),
            "threshold": threshold,
            "similarity": _finite(self.similarity),
            "interval": [_finite(end) for end in self.interval()],
            "image_similarity": [_finite(value) for value in self.image_similarity.tolist()],
            "stages": self.rows(),
        }

    def __getitem__(self, images: slice | Tensor) -> "SanityReport":
        """The report on some of the images."""
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
