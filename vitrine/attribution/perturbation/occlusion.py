"""Occlusion: what a class loses when a sliding window covers a part of the image (Zeiler and Fergus, ECCV 2014)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.captum_adapter import captum_attr, forward_function
from vitrine.attribution.per_image import Baseline, PerImageMethod
from vitrine.attribution.targets import Target
from vitrine.backbones.outputs import OutputChoice
from vitrine.core.options import Count, OptionError, checked

Pixels = Count | tuple[Count, Count]
"""Height and width, or one number for both."""

DEFAULT_BATCH_SIZE = 32
"""Occluded copies that go through the model at once if no bound is given; there may be thousands."""


class Occlusion(PerImageMethod):
    """f(x) − f(x with a window occluded), at each pixel the mean over the windows that cover it: (B, 1, H, W).

    Windows start at the upper left corner and cover all channels; the last ones of a row or column may be cut off at the
    border. For a channel with places, f is its sum over them. Captum computes the maps, by one forward pass for each window
    for all of an image's targets; its results are float32.

    Args:
        model: as in `Method`.
        layer: as in `Method`.
        window: height and width in pixels.
        stride: step between windows in pixels, down and to the right.
        baseline: the values of occluded pixels, a number or a tensor that broadcasts to the inputs, such as (1, C, H, W) or
            (B, C, H, W), in the model's units: for normalised inputs, 0 is the mean colour.
        internal_batch_size: the most occluded copies that go through the model at once; 32 if it is None.
        output: as in `Method`.

    Raises:
        ValueError: as in `Method`; for a stride larger than the window, which would skip pixels; of ``attribute`` also for a
            window larger than the image, and a baseline that does not fit the inputs.
        ModuleNotFoundError: if Captum is not installed.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))
        >>> Occlusion(model, window=4, stride=2).attribute(torch.rand(2, 3, 8, 8), target=1).shape
        torch.Size([2, 1, 8, 8])
    """

    signed = True
    takes_torchscript = True
    needs_captum = True
    paper = "Zeiler and Fergus 2014"
    quick_options: ClassVar[Mapping[str, Any]] = {"window": 6, "stride": 4}

    @checked
    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module | None = None,
        window: Pixels = (16, 16),
        stride: Pixels = (8, 8),
        baseline: Baseline = 0.0,
        *,
        internal_batch_size: Count | None = None,
        output: OutputChoice | None = None,
    ) -> None:
        super().__init__(model, layer, internal_batch_size=internal_batch_size, output=output)
        self.window = _height_and_width(window)
        self.stride = _height_and_width(stride)
        if any(step > side for step, side in zip(self.stride, self.window, strict=True)):
            raise OptionError("stride", self.stride, f"at most the window {self.window}, or pixels are skipped")
        captum_attr("Occlusion")
        self.baseline = baseline

    @override
    def maps(self, inputs: Tensor, target: Target) -> Tensor:
        if any(side > size for side, size in zip(self.window, inputs.shape[2:], strict=True)):
            raise ValueError(
                f"The occluding window {self.window} is larger than the {tuple(inputs.shape[2:])} images;"
                " give a smaller one: Occlusion(model, window=…)."
            )
        return super().maps(inputs, target)

    @override
    def image_maps(self, image: Tensor, baseline: Tensor, target: Target, indices: list[int]) -> Tensor:
        forward, channels = forward_function(self, target), image.shape[1]
        # Captum makes as many copies of the image as it may occlude at once, even if there are fewer windows.
        batch_size = min(self.internal_batch_size or DEFAULT_BATCH_SIZE, self._num_windows(image))
        captum = captum_attr("Occlusion").Occlusion(lambda inputs: forward(inputs)[:, indices])
        maps: Tensor = captum.attribute(
            image,
            sliding_window_shapes=(channels, *self.window),
            strides=(channels, *self.stride),
            baselines=baseline,
            perturbations_per_eval=batch_size,
        )
        return maps[:, :1].detach()

    def _num_windows(self, image: Tensor) -> int:
        sides = zip(image.shape[2:], self.window, self.stride, strict=True)
        return math.prod(math.ceil((size - side) / step) + 1 for size, side, step in sides)


def _height_and_width(pixels: Pixels) -> tuple[int, int]:
    return (pixels[0], pixels[1]) if isinstance(pixels, Sequence) else (pixels, pixels)
