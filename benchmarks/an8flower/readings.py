"""How a map is read before it is compared with the mask, and the three figures of each image."""

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from vitrine.core.image_ops import constant, gaussian_blur
from vitrine.metrics.functional import IOU_THRESHOLDS, energy_inside, iou_at_thresholds, iou_curve_area, maximum_point

SIGMAS = (0.0, 2.0, 4.0)
POWERS = (1.0, 0.5)


class Reading(NamedTuple):
    """What is done with (M, H, W) maps."""

    sigma: float = 2.0
    """Of a Gaussian blur, in pixels of the network's input; 0 for none."""
    power: float = 1.0
    """To which the map, scaled to 0 … 1, is raised."""

    def __call__(self, maps: Tensor) -> Tensor:
        """(M, H, W)."""
        blurred = gaussian_blur(maps.float(), self.sigma) if self.sigma else maps.float()
        low, high = blurred.flatten(1).amin(dim=1), blurred.flatten(1).amax(dim=1)
        scaled = (blurred - low[:, None, None]) / (high - low).clamp(min=1e-30)[:, None, None]
        return scaled.masked_fill(constant(maps)[:, None, None], 0) ** self.power


def readings() -> Iterator[Reading]:
    """All choices."""
    return (Reading(sigma, power) for sigma, power in product(SIGMAS, POWERS))


def area(maps: Tensor, masks: Tensor, reading: Reading) -> float:
    """Area under the IoU curve in percent."""
    return float(iou_curve_area(reading(maps), masks))


def best_reading(maps: Tensor, masks: Tensor) -> tuple[float, Reading]:
    """The highest area that any reading gives, the first on ties, and that reading."""
    return max(((area(maps, masks, reading), reading) for reading in readings()), key=lambda found: found[0])


def figures(maps: Tensor, masks: Tensor) -> dict[str, list[float]]:
    """By figure, of (M, H, W) maps as they are read: each image's in percent, 0 of a degenerate map.

    ``area`` under the IoU curve, ``pointing`` (whether the maximum lies in the mask), ``energy`` in the mask.
    """
    thresholds = torch.tensor(IOU_THRESHOLDS, dtype=torch.float64)
    areas = torch.trapezoid(iou_at_thresholds(maps, masks), thresholds, dim=1)
    x, y = maximum_point(maps).unbind(dim=1)
    hits = masks[torch.arange(len(maps)), y, x] & ~constant(maps)
    energies = energy_inside(maps, masks).nan_to_num(0)
    return {
        name: (100 * values.double()).tolist()
        for name, values in (("area", areas), ("pointing", hits), ("energy", energies))
    }
