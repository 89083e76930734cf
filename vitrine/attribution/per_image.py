"""Methods that run many copies of one image, perturbed or noisy, at a time."""

from abc import abstractmethod

import torch
from torch import Tensor
from typing_extensions import override

from vitrine.attribution.base import Method
from vitrine.attribution.targets import Target
from vitrine.core.precision import in_full

Baseline = float | Tensor
"""The value of a missing pixel: a number, or a tensor that broadcasts to (B, C, H, W)."""


class PerImageMethod(Method):
    """A method that takes the images one by one, and many perturbed copies of an image at a time.

    So the map of an image depends on it alone, and ``internal_batch_size`` bounds the copies in one forward pass.
    """

    handles_batch_size = True
    slow = True
    baseline: Baseline = 0.0
    """Of methods that have one."""

    @override
    def maps(self, inputs: Tensor, target: Target) -> Tensor:
        channels = inputs.shape[1] if self.gradient_like else 1
        maps = in_full(inputs[:0]).new_zeros(len(inputs), target.num_maps, channels, *inputs.shape[2:])
        baselines = expand_baseline(self.baseline, inputs)
        for index in range(len(inputs)):
            row = slice(index, index + 1)
            image_target = target.select(row)
            indices: list[int] = self.target_indices(inputs[row], image_target)[0].tolist()
            if indices:
                maps[index] = self.image_maps(inputs[row], baselines[row], image_target, indices)
        return maps

    @abstractmethod
    def image_maps(self, image: Tensor, baseline: Tensor, target: Target, indices: list[int]) -> Tensor:
        """Computes the maps of one image.

        Args:
            image: (1, C, H, W).
            baseline: (1, C, H, W).
            target: what is explained.
            indices: the K indices of the target, at least one.

        Returns:
            (K, C, H, W) or (K, 1, H, W), detached; they are widened to float32.
        """


def expand_baseline(baseline: Baseline, inputs: Tensor) -> Tensor:
    """The baseline of each of the (B, C, H, W) inputs, with their shape, type and device.

    Raises:
        ValueError: if it does not broadcast to them, or holds NaN or infinity.
    """
    values = torch.as_tensor(baseline).to(inputs)
    if not values.isfinite().all():
        shown = "a tensor with NaN or infinity" if isinstance(baseline, Tensor) else baseline
        raise ValueError(f"baseline is {shown}; give finite numbers.")
    try:
        return values.expand_as(inputs)
    except RuntimeError as error:
        raise ValueError(
            f"baseline of shape {tuple(values.shape)} does not fit inputs of shape {tuple(inputs.shape)};"
            " give a number, (1, C, H, W) or (B, C, H, W)."
        ) from error
