"""What came of the maps of many images, and the figures that follow."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vitrine.metrics.functional import pointing_hit
from vitrine.metrics.functional.localization import LOCALIZATION_ALPHAS, REQUIRED_IOU, localization_ious


@dataclass(frozen=True)
class Outcomes:
    """Image by image."""

    ious: Tensor
    """(N, A) float64 for each α; NaN for degenerate maps."""
    component_ious: Tensor
    """(N, A') the same, of the largest component alone, which takes long to find: for all α, for one, or for none."""
    hits: Tensor
    """(N,) 1 where the maximum is in a box, NaN for degenerate maps."""
    seconds: Tensor
    """(N,) that the maps took."""

    @classmethod
    def of_maps(
        cls, maps: Tensor, boxes: Sequence[Tensor], seconds: float, component_alphas: Sequence[float]
    ) -> "Outcomes":
        """Compares maps with boxes, after values below 0 became 0.

        Args:
            maps: (B, H, W).
            boxes: (k, 4) of each.
            seconds: that all maps took.
            component_alphas: for the largest component.
        """
        maps = maps.clamp(min=0)
        ious = localization_ious(maps, boxes)
        of_component = [localization_ious(maps, boxes, [alpha], largest_component=True) for alpha in component_alphas]
        hits, each = pointing_hit(maps, boxes, tolerance=0), torch.full((len(maps),), seconds / len(maps))
        return cls(ious, torch.cat([ious[:, :0], *of_component], dim=1), hits, each)

    @classmethod
    def of_ious(cls, ious: Tensor) -> "Outcomes":
        """Of (N,) boxes that depend on no α and no map."""
        at_each = ious[:, None].expand(-1, len(LOCALIZATION_ALPHAS))
        return cls(at_each, at_each, torch.full_like(ious, torch.nan), torch.zeros_like(ious))

    @classmethod
    def cat(cls, parts: Sequence["Outcomes"]) -> "Outcomes":
        """Of the images of all parts."""
        return cls(*(torch.cat([vars(part)[name] for part in parts]) for name in cls.__annotations__))

    @property
    def degenerate(self) -> int:
        """How many maps say nothing of where."""
        return int(self.ious.isnan().any(dim=1).sum())


def failures(ious: Tensor) -> Tensor:
    """(A,) int64: how many of (N, A) IoUs are no success; NaN never is."""
    return (~(ious > REQUIRED_IOU)).sum(dim=0)


def wilson_interval(failed: int, count: int, quantile: float = 1.959964) -> tuple[float, float]:
    """Wilson's interval of a share, at 95 % by default."""
    share, spread = failed / count, quantile**2 / count
    middle = (share + spread / 2) / (1 + spread)
    half = quantile * math.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def tuned(ious: Tensor) -> int:
    """The place of the α with the fewest failures in (N, A) IoUs, the first on ties."""
    return int(failures(ious).argmin())


def error_of(ious: Tensor) -> dict[str, Any]:
    """The error of (N,) IoUs, and its interval."""
    failed = int(failures(ious))
    return {"error": failed / len(ious), "interval": wilson_interval(failed, len(ious))}


def at(place: int, ious: Tensor) -> dict[str, Any]:
    """The α of a place, and the error of (N,) IoUs there."""
    return {"alpha": LOCALIZATION_ALPHAS[place], **error_of(ious)}


def figures(tuning: Outcomes, measured: Outcomes, compared: Sequence[int]) -> dict[str, Any]:
    """All figures of a method.

    Args:
        tuning: images that α is chosen on.
        measured: images that count.
        compared: numbers of the measured images that the slow methods see too.
    """
    place, best = tuned(tuning.ious), tuned(measured.ious)
    component = measured.component_ious[:, 0] if measured.component_ious.numel() else None
    errors = (failures(measured.ious).double() / len(measured.ious)).tolist()
    return {
        "images": len(measured.ious),
        "tuning_images": len(tuning.ious),
        **at(place, measured.ious[:, place]),
        "tuning_error": error_of(tuning.ious[:, place])["error"],
        "error_on_slow_images": error_of(measured.ious[list(compared), place])["error"],
        "hindsight": at(best, measured.ious[:, best]),
        "component": None if component is None else at(tuned(tuning.component_ious), component),
        "pointing": float(measured.hits.nan_to_num(0).mean()),
        "degenerate": measured.degenerate,
        "tuning_degenerate": tuning.degenerate,
        "seconds_per_image": float(torch.cat([tuning.seconds, measured.seconds]).mean()),
        "errors": dict(zip(map(str, LOCALIZATION_ALPHAS), errors, strict=True)),
    }
