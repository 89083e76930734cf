"""Methods that run many variants of an image."""

from abc import abstractmethod

import torch
from torch import Tensor
from typing_extensions import override

from vitrine.attribution.base import Method, Unit

Baseline = float | Tensor
"""What stands for an absent pixel: a number, or a tensor that broadcasts to (B, C, H, W)."""


class ManyVariants(Method):
    """A method that runs many variants of an image: images are taken one by one, and their variants many at once.

    A map so depends on its own image alone, and ``internal_batch_size`` bounds the number of variants in one forward pass.
    """

    bounds_itself = True
    baseline: Baseline = 0.0
    """Of methods that have one."""
    map_channels: int | None = None
    """Channels of a map; without it as many as the input has."""

    @override
    def maps(self, inputs: Tensor, unit: Unit) -> Tensor:
        count = unit.indices.shape[-1] if unit.indices is not None and unit.several else 1
        maps = inputs.new_zeros(len(inputs), count, self.map_channels or inputs.shape[1], *inputs.shape[2:])
        baselines = baseline_like(self.baseline, inputs)
        for row in range(len(inputs)):
            one = slice(row, row + 1)
            units = self._units(inputs[one], unit.part(one))
            if units:
                maps[row] = self.maps_of_one(inputs[one], baselines[one], unit.part(one), units)
        return maps

    @abstractmethod
    def maps_of_one(self, image: Tensor, baseline: Tensor, unit: Unit, units: list[int]) -> Tensor:
        """Maps of one image.

        Args:
            image: (1, C, H, W).
            baseline: (1, C, H, W).
            unit: what is explained.
            units: its K indices, at least one.

        Returns:
            (K, C, H, W) or (K, 1, H, W), detached.
        """

    def _units(self, image: Tensor, unit: Unit) -> list[int]:
        with torch.no_grad():
            units: list[int] = unit.of(self.explained_output(image.clone(), unit))[0].tolist()
        return units


def baseline_like(baseline: Baseline, inputs: Tensor) -> Tensor:
    """The baseline of each of the (B, C, H, W) inputs, in their shape and type and on their device.

    Raises:
        ValueError: where it does not broadcast to them.
    """
    given = torch.as_tensor(baseline).to(inputs)
    try:
        return given.expand_as(inputs)
    except RuntimeError as error:
        raise ValueError(
            f"baseline of shape {tuple(given.shape)} does not fit inputs of shape {tuple(inputs.shape)};"
            " give a number, (1, C, H, W) or (B, C, H, W)."
        ) from error
