"""Occlusion: what a class loses when a sliding window covers a part of the image (Zeiler and Fergus, ECCV 2014)."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.copies import Baseline, MethodOfCopies, expand_baseline, no_maps
from vitrine.attribution.targets import Target
from vitrine.backbones.outputs import OutputChoice
from vitrine.core.image_ops import separable_filter
from vitrine.core.options import Count, OptionError, checked
from vitrine.core.precision import in_full, without_autocast

Pixels = Count | tuple[Count, Count]
"""Height and width, or one number for both."""

DEFAULT_BATCH_SIZE = 32
"""Occluded copies that go through the model at once if no bound is given; there may be thousands."""


class Occlusion(MethodOfCopies):
    """f(x) − f(x with a window occluded), at each pixel the mean over the windows that cover it: (B, 1, H, W).

    Windows start at the upper left corner and cover all channels; the last ones of a row or column may be cut off at the
    border. For a channel with places, f is its sum over them. All targets of an image share its forward passes, one for each
    window; copies of several images may run together. Maps are in float32 or wider.

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

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))
        >>> Occlusion(model, window=4, stride=2).attribute(torch.rand(2, 3, 8, 8), target=1).shape
        torch.Size([2, 1, 8, 8])
    """

    signed = True
    takes_torchscript = True
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
        self.baseline = baseline

    @override
    def maps(self, inputs: Tensor, target: Target) -> Tensor:
        if any(side > size for side, size in zip(self.window, inputs.shape[2:], strict=True)):
            raise ValueError(
                f"The occluding window {self.window} is larger than the {tuple(inputs.shape[2:])} images;"
                " give a smaller one: Occlusion(model, window=…)."
            )
        baselines = expand_baseline(self.baseline, inputs)
        target, maps = self.with_indices(inputs, target), no_maps(self, inputs, target)
        if not maps.numel():
            return maps
        covers = [windows(*sides, maps) for sides in zip(inputs.shape[2:], self.window, self.stride, strict=True)]
        losses = self._losses(inputs, baselines, target, *covers)
        with without_autocast(inputs):
            means = [cover / cover.sum(dim=1, keepdim=True) for cover in covers]
            return separable_filter(means[0], losses.to(maps), means[1])[:, :, None]

    @torch.no_grad()
    def _losses(self, inputs: Tensor, baselines: Tensor, target: Target, rows: Tensor, columns: Tensor) -> Tensor:
        """(B, K, m, n) losses of the targets under each of the m × n windows, which cover (H, m) rows and (W, n) columns."""
        size = rows.shape[1], columns.shape[1]
        scores = []
        # The last copy is the image itself.
        for images, numbers in self.copies_of(len(inputs), size[0] * size[1] + 1, at_once=DEFAULT_BATCH_SIZE):
            down, right = numbers // size[1], numbers % size[1]
            is_image = (down == size[0])[:, None, None, None].to(inputs.device)
            is_covered = rows.T[down.clamp(max=size[0] - 1), None, :, None] * columns.T[right, None, None] > 0
            copies = torch.where(is_covered & ~is_image, baselines[images], inputs[images])
            output = self.explained_output(copies, target)
            sums = in_full(output).flatten(2).sum(dim=2) if output.ndim > 2 else in_full(output)
            scores.append(sums.gather(1, target.select(images).resolve(output)))
        of_images = torch.cat(scores).view(len(inputs), -1, target.num_maps).mT
        return (of_images[..., -1:] - of_images[..., :-1]).reshape(*of_images.shape[:2], *size)


def windows(length: int, side: int, step: int, like: Tensor) -> Tensor:
    """(L, n) ones where a pixel is covered by the windows that start at 0, step, 2 · step …, until the last pixel is covered.

    Example:
        >>> windows(5, 2, 2, torch.zeros(1)).T.tolist()
        [[1.0, 1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0, 1.0]]
    """
    starts = step * torch.arange(-(-(length - side) // step) + 1)
    behind = torch.arange(length)[:, None] - starts
    return ((behind >= 0) & (behind < side)).to(like)


def _height_and_width(pixels: Pixels) -> tuple[int, int]:
    return (pixels[0], pixels[1]) if isinstance(pixels, Sequence) else (pixels, pixels)
