"""What a class loses where a window is covered (Zeiler & Fergus, ECCV 2014)."""

import math

from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.base import Unit
from vitrine.attribution.gradient.captum_methods import captum_attr, forward_function
from vitrine.attribution.variants import Baseline, ManyVariants

Pixels = int | tuple[int, int]
"""Height and width, or one number for both."""

WINDOWS_AT_ONCE = 32
"""Where no bound is given: there may be thousands."""


class Occlusion(ManyVariants):
    """f(x) − f(x with a window covered), at each pixel the mean over the windows that cover it: (B, 1, H, W).

    Windows start at the upper left corner and cover all channels; the last ones of a row or column may be cut off at the
    border. Of a channel with places, f is its sum over them. Captum does the work, with one forward pass a window for all
    of an image's targets; its results are float32.

    Args:
        model: as in `Method`.
        layer: as in `Method`.
        window: height and width in pixels.
        stride: step between windows in pixels, down and to the right.
        baseline: what covers, a number or a tensor that broadcasts to the inputs, such as (1, C, H, W) or (B, C, H, W), in
            the model's units: of normalised inputs, 0 is the mean colour.
        internal_batch_size: at most so many covered copies go through the model at once; 32 without it.

    Raises:
        ValueError: for a stride larger than the window, which would leave pixels out; and of ``attribute`` for a window
            larger than the image, and a baseline that does not fit the inputs.
        ModuleNotFoundError: where Captum is not installed.
    """

    map_channels = 1

    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module | None = None,
        window: Pixels = (16, 16),
        stride: Pixels = (8, 8),
        baseline: Baseline = 0.0,
        *,
        internal_batch_size: int | None = None,
    ) -> None:
        super().__init__(model, layer, internal_batch_size=internal_batch_size)
        self.window = _height_and_width(window)
        self.stride = _height_and_width(stride)
        if not all(1 <= step <= side for step, side in zip(self.stride, self.window, strict=True)):
            raise ValueError(
                f"stride {self.stride} must be from 1 to the window {self.window}, or pixels are left out."
            )
        captum_attr("Occlusion")
        self.baseline = baseline

    @override
    def maps(self, inputs: Tensor, unit: Unit) -> Tensor:
        if any(side > size for side, size in zip(self.window, inputs.shape[2:], strict=True)):
            raise ValueError(
                f"The occluding window {self.window} is larger than the {tuple(inputs.shape[2:])} images;"
                " give a smaller one: Occlusion(model, window=…)."
            )
        return super().maps(inputs, unit)

    @override
    def maps_of_one(self, image: Tensor, baseline: Tensor, unit: Unit, units: list[int]) -> Tensor:
        forward, channels = forward_function(self, unit), image.shape[1]
        # Captum makes as many copies of the image as it is told to cover at once, also where there are fewer windows.
        at_once = min(self.internal_batch_size or WINDOWS_AT_ONCE, self._windows(image))
        captum = captum_attr("Occlusion").Occlusion(lambda inputs: forward(inputs)[:, units])
        maps: Tensor = captum.attribute(
            image,
            sliding_window_shapes=(channels, *self.window),
            strides=(channels, *self.stride),
            baselines=baseline,
            perturbations_per_eval=at_once,
        )
        return maps[:, :1].detach()

    def _windows(self, image: Tensor) -> int:
        sides = zip(image.shape[2:], self.window, self.stride, strict=True)
        return math.prod(math.ceil((size - side) / step) + 1 for size, side, step in sides)


def _height_and_width(pixels: Pixels) -> tuple[int, int]:
    return (pixels, pixels) if isinstance(pixels, int) else (pixels[0], pixels[1])
