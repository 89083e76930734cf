"""Two objects in one image: whether the map of each class lies on its object (section 4.1.2 of Du et al., KDD 2018)."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from vitrine.core.image_ops import degenerate
from vitrine.metrics.functional.agreement import map_correlation
from vitrine.metrics.functional.masks import energy_inside

Canvas = Literal["squashed", "cropped"]
TIE = 1e-9
"""Shares that differ by so little are those of one map."""
SUMS = ("own_half", "maximum", "in_order", "correlation")
COUNTS = ("pairs", "measured_maps", "ordered", "correlated", "degenerate")


def canvases(left: Tensor, right: Tensor, kind: Canvas = "squashed") -> Tensor:
    """(P, C, H, W) images of two objects side by side.

    Args:
        left: (P, C, H, W).
        right: (P, C, H, W).
        kind: whether each is ``squashed`` to half of its width, or ``cropped`` to its middle half.
    """
    width = left.shape[-1]
    halves = zip((left, right), (width // 2, width - width // 2), strict=True)
    return torch.cat([_narrowed(images, half, kind) for images, half in halves], dim=3)


def _narrowed(images: Tensor, width: int, kind: Canvas) -> Tensor:
    if kind == "squashed":
        return F.interpolate(images, (images.shape[-2], width), mode="bilinear", antialias=True)
    start = (images.shape[-1] - width) // 2
    return images[..., start : start + width]


class TwoObjects(Metric):
    """How well the maps of two classes tell two objects apart that stand side by side.

    ``own_half`` is the share of a map's positive part in its object's half, one half for a map that does not tell them apart;
    ``maximum`` whether its maximum is there; ``in_order`` whether the left class's map has the larger share of the left half,
    one half for one map twice; ``correlation`` Pearson's r of the two maps. Degenerate maps are counted; their maximum is
    nowhere, and they are left out elsewhere.
    """

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        for name in (*SUMS, *COUNTS):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, maps: Tensor) -> None:
        """Updates the state with (P, 2, H, W) maps of the classes in the left and the right half."""
        count, _, height, width = maps.shape
        left = torch.zeros(height, width, device=maps.device)
        left[:, : width // 2] = 1
        regions = torch.stack([left, 1 - left])
        own = torch.stack([energy_inside(maps[:, n], regions[n].expand(count, -1, -1)) for n in (0, 1)], dim=1)
        void = degenerate(maps)
        column = maps.flatten(2).nan_to_num().argmax(dim=2) % width
        hits = ((column < width // 2) == torch.tensor([True, False], device=maps.device)) & ~void
        lead = own.sum(dim=1) - 1  # the left map's share of the left half, less the right map's
        in_order = torch.where(lead.abs() <= TIE, 0.5, (lead > 0).double())
        correlation = map_correlation(maps[:, 0], maps[:, 1])
        measured: tuple[Tensor, ...] = (own, hits, in_order[~lead.isnan()], correlation)
        for name, value in zip(SUMS, measured, strict=True):
            self._add(name, value.double().nansum())
        counts: tuple[Tensor | int, ...] = (
            count,
            (~own.isnan()).sum(),
            (~lead.isnan()).sum(),
            (~correlation.isnan()).sum(),
            void.sum(),
        )
        for name, number in zip(COUNTS, counts, strict=True):
            self._add(name, number)

    def _add(self, name: str, value: Tensor | int) -> None:
        setattr(self, name, getattr(self, name) + value)

    def compute(self) -> dict[str, Tensor]:
        """The means, and the numbers of pairs and of degenerate maps."""
        counts = (self.measured_maps, 2 * self.pairs, self.ordered, self.correlated)  # type: ignore[operator]
        means = {name: (getattr(self, name) / number).float() for name, number in zip(SUMS, counts, strict=True)}
        numbers = {name: getattr(self, name).float() for name in ("pairs", "degenerate")}
        return {f"two_objects/{name}": value for name, value in {**means, **numbers}.items()}
