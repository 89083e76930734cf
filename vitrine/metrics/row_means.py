"""RowMeans: the base of metrics whose figures are means over images of what each aggregated map is worth."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from typing_extensions import override

from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.core.image_ops import degenerate
from vitrine.metrics.base import Curve, ExplanationMetric, annotation


@dataclass(frozen=True)
class MapRows:
    """The rows of a batch whose aggregated maps are not degenerate."""

    maps: Tensor
    """(U, H, W), on the images' device."""
    explanation: Explanation
    batch: Batch
    usable: Tensor
    """(B,) bool: which rows of the batch these are."""

    @property
    def images(self) -> Tensor:
        """(U, 3, H, W).

        Raises:
            ValueError: for a batch without images, or with another number than there are maps.
        """
        images: Tensor = annotation(self.batch, "image")
        if len(images) != len(self.usable):
            raise ValueError(f"The batch has {len(images)} images and {len(self.usable)} maps; give one map an image.")
        return images[self.usable]

    @property
    def targets(self) -> Tensor:
        """(U,) int64: the explained classes."""
        return self.explanation.target.to(self.maps.device)[self.usable]

    @property
    def keys(self) -> list[str] | None:
        """U names of the images, by which each gets random numbers of its own; None for a batch without names."""
        keys = self.batch.get("key")
        return None if keys is None else [keys[row] for row in self.usable.nonzero().flatten().tolist()]


@dataclass(frozen=True)
class RowFigures:
    """What was measured of U rows."""

    values: Mapping[str, Tensor]
    """(U,) by the name of a figure."""
    curves: Mapping[str, Tensor] = field(default_factory=dict)
    """(U, T) by the name of a curve."""


class RowMeans(ExplanationMetric):
    """Means over the rows whose map is not degenerate; those that are, or have no finite value, are left out and counted.

    A subclass says what its rows are worth. States are float64 sums, which add up over ranks.

    Args:
        figures: names of the figures; the count is named after the first part of the first.
        curves: what is known of the curves before anything is measured, by their names: their ``y`` is empty.

    Example:
        >>> class MeanOfMap(RowMeans):
        ...     def __init__(self):
        ...         super().__init__(["mean_of_map"])
        ...     def measure(self, rows):
        ...         return RowFigures({"mean_of_map": rows.maps.mean(dim=(1, 2))})
        >>> metric, classes = MeanOfMap(), torch.tensor([0, 0])
        >>> maps = torch.tensor([[[[0.2, 0.6]]], [[[0.5, 0.5]]]])
        >>> metric.update(Explanation(maps, torch.ones(2, 1), [["m"]] * 2, classes, classes, torch.zeros(2, 3)), Batch())
        >>> {name: value.item() for name, value in metric.compute().items()}
        {'mean_of_map': 0.5, 'mean_of_map/degenerate': 1.0}
        >>> metric.row_values["mean_of_map"].tolist()
        [0.5, nan]
    """

    totals: Tensor
    measured: Tensor
    degenerate: Tensor

    def __init__(self, figures: Sequence[str], curves: Mapping[str, Curve] | None = None) -> None:
        super().__init__()
        self.figures, self.known_curves = list(figures), dict(curves or {})
        self.add_state("totals", torch.zeros(len(self.figures), dtype=torch.float64), dist_reduce_fx="sum")
        for place, curve in enumerate(self.known_curves.values()):
            zeros = torch.zeros(len(curve.x), dtype=torch.float64)
            self.add_state(f"curve_{place}", zeros, dist_reduce_fx="sum")
            self.add_state(f"squares_{place}", zeros.clone(), dist_reduce_fx="sum")
        self.add_sum("measured")
        self.add_sum("degenerate")

    @abstractmethod
    def measure(self, rows: MapRows) -> RowFigures:
        """The values of one or more rows by all figures' names, and their curves by all curves' names."""

    @override
    def update(self, explanation: Explanation, batch: Batch) -> None:
        """Updates the state with one batch; the classes are ``explanation.target``.

        Raises:
            ValueError: where the batch lacks what is measured, or it does not fit the maps.
        """
        maps = explanation.aggregate()[:, 0].detach()
        if "image" in batch:
            maps = maps.to(batch["image"].device)
        usable = ~degenerate(maps)
        values = torch.full((len(self.figures), len(maps)), torch.nan, dtype=torch.float64, device=maps.device)
        if bool(usable.any()):
            found = self.measure(MapRows(maps[usable], explanation, batch, usable))
            values[:, usable] = torch.stack([found.values[name].double() for name in self.figures])
            self._add_curves(found, values[:, usable].isfinite().all(dim=0))
        values = values.to(self.device)
        finite = values.isfinite().all(dim=0)
        self.totals += values[:, finite].sum(dim=1)
        self.measured += finite.sum()
        self.degenerate += (~finite).sum()
        values = values.masked_fill(~finite, torch.nan)
        self.row_values = dict(zip(self.figures, values, strict=True))

    def _add_curves(self, found: RowFigures, finite: Tensor) -> None:
        for place, name in enumerate(self.known_curves):
            values = found.curves[name][finite].double()
            for power, state in enumerate((f"curve_{place}", f"squares_{place}"), start=1):
                total: Tensor = getattr(self, state)
                total += values.pow(power).sum(dim=0).to(total.device)

    @override
    def compute(self) -> dict[str, Tensor]:
        """The means, NaN without a row, and the number of degenerate maps."""
        means = (self.totals / self.measured).float()
        count = f"{self.figures[0].partition('/')[0]}/degenerate"
        return {**dict(zip(self.figures, means, strict=True)), count: self.degenerate.float()}

    @override
    def curves(self) -> Mapping[str, Curve]:
        return {name: self._measured(place, curve) for place, (name, curve) in enumerate(self.known_curves.items())}

    def _measured(self, place: int, curve: Curve) -> Curve:
        mean, squares = (getattr(self, f"{state}_{place}") / self.measured for state in ("curve", "squares"))
        return replace(curve, y=mean.tolist(), spread=(squares - mean.square()).clamp(min=0).sqrt().tolist())
