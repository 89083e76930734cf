"""Pixel flipping as a metric: how fast a class's probability falls as regions are replaced (Bach et al., Samek et al.)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor
from typing_extensions import override

from vitrine.core.key_noise import KeyNoise
from vitrine.core.options import Count, Options, Range
from vitrine.core.precision import in_full
from vitrine.metrics.base import Curve, SharedClassifier
from vitrine.metrics.functional.pixel_flipping import (
    area_over_perturbation_curve,
    flipped_shares,
    pixel_flipping_curve,
)
from vitrine.metrics.row_means import MapRows, RowFigures, RowMeans

NAME = "pixel_flipping"


@dataclass(frozen=True)
class PixelFlippingOptions(Options):
    """How pixels are flipped.

    Args:
        steps: groups of regions that are replaced one after the other, each of which is a forward pass.
        region: side of a region in pixels; 1 flips single pixels.
        share: of the regions that are replaced at the end; Samek et al. replace 100 of 625.
        fill: ``uniform`` replaces pixels by random numbers between the smallest and the largest value of the image's channel,
            as Samek et al. do, ``mean`` by the mean colour.
        seed: of the random numbers.
    """

    steps: Count = 50
    region: Count = 9
    share: Annotated[float, Range(above=0, at_most=1)] = 0.16
    fill: Literal["uniform", "mean"] = "uniform"
    seed: int = 0


class PixelFlipping(RowMeans):
    """Mean areas over and under the curve of the class's probability as the most relevant regions are replaced first.

    ``pixel_flipping/aopc`` is the mean fall along the curve (higher is better), ``pixel_flipping/auc`` the area under the
    curve, over steps from 0 to 1 (lower is better). Degenerate maps rank no regions: they are left out and counted.

    The network is no part of the metric's state: copies of the metric share it, and pickles leave it out. An image costs
    ``steps`` + 1 forward passes.

    Args:
        classify: maps (B, 3, H, W) images, normalised for the backbone, to (B, C) logits, such as
            ``lambda images: backbone(images).logits``; an ``nn.Module`` runs under `eval_guard`.
        options: how pixels are flipped.

    Example:
        >>> from vitrine.core.batch import Batch
        >>> from vitrine.core.explanation import Explanation
        >>> def classify(images):  # class 1 grows with the brightness of the left half
        ...     left = images[..., :4].mean(dim=(1, 2, 3))
        ...     return torch.stack([0 * left, left], dim=1)
        >>> maps, label = torch.ones(1, 1, 8, 8), torch.tensor([1])
        >>> maps[..., :4] = 2
        >>> explanation = Explanation(maps, torch.ones(1, 1), [["all"]], label, label, torch.zeros(1, 2))
        >>> metric = PixelFlipping(classify, PixelFlippingOptions(steps=1, region=2, share=0.5, fill="mean"))
        >>> metric.update(explanation, Batch(image=torch.full((1, 3, 8, 8), 5.0)))
        >>> round(metric.compute()["pixel_flipping/aopc"].item(), 3)  # from sigmoid(5) to sigmoid(0)
        0.247
    """

    higher_is_better = True

    def __init__(
        self, classify: Callable[[Tensor], Tensor], options: PixelFlippingOptions = PixelFlippingOptions()
    ) -> None:
        shares = flipped_shares(options.steps, options.share).tolist()
        curve = Curve(shares, [], "share of regions replaced", "probability of the class")
        super().__init__([f"{NAME}/aopc", f"{NAME}/auc"], {NAME: curve})
        self.classify, self.options = SharedClassifier(classify, type(self).__name__), options

    @override
    def measure(self, rows: MapRows) -> RowFigures:
        options, images = self.options, rows.images
        curve = pixel_flipping_curve(
            self.classify,
            images,
            rows.maps,
            rows.targets,
            self._fill(images, rows.keys),
            options.steps,
            options.region,
            options.share,
            multi_label=rows.explanation.multi_label,
        )
        under = torch.trapezoid(curve.double(), dx=1 / options.steps)
        return RowFigures({f"{NAME}/aopc": area_over_perturbation_curve(curve), f"{NAME}/auc": under}, {NAME: curve})

    def _fill(self, images: Tensor, keys: list[str] | None) -> Tensor | float:
        if self.options.fill == "mean":
            return 0.0
        drawn = KeyNoise(self.options.seed, keys, len(images)).draw(images.shape[1:], "uniform").to(images.device)
        low, high = in_full(images).flatten(2).aminmax(dim=2)
        return torch.lerp(low[..., None, None], high[..., None, None], drawn.to(low.dtype))
