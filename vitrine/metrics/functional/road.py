"""ROAD: remove and debias, removal of pixels by noisy linear imputation (Rong et al., ICML 2022)."""

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor

from vitrine.core.image_ops import degenerate
from vitrine.core.key_noise import KeyNoise
from vitrine.core.options import NonNegative, OptionError, Range, checked
from vitrine.metrics.functional.checks import checked_classes, checked_images, checked_maps
from vitrine.metrics.functional.class_scores import Classify, Score, class_scores
from vitrine.metrics.functional.imputation import linear_imputation
from vitrine.metrics.functional.insertion_deletion import saliency_ranks

Order = Literal["most_relevant_first", "least_relevant_first"]

RemovedShare = Annotated[float, Range(at_least=0, below=1)]
"""Of an image's pixels; some have to be kept."""

ROAD_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@checked
def road_curve(
    classify: Classify,
    images: Tensor,
    maps: Tensor,
    targets: Tensor,
    shares: Sequence[RemovedShare] = ROAD_SHARES,
    order: Order = "most_relevant_first",
    score: Score = "probability",
    noise: NonNegative = 0.01,
    seed: int = 0,
    keys: Sequence[str] | None = None,
    *,
    multi_label: bool = False,
) -> Tensor:
    """Score of a class while more and more of an image's pixels are imputed from the others, in the order of a heatmap.

    Imputed pixels, unlike blackened ones, hardly show which pixels were removed, see `linear_imputation`. ⌊share · H · W⌋
    pixels are removed; of equally salient pixels the first in row-major order counts as the more relevant one.

    Args:
        classify: the network.
        images: (B, C, H, W), normalised for the network.
        maps: (B, H, W).
        targets: (B,) classes.
        shares: T shares of the pixels, from 0 to below 1.
        order: whether the pixels of the highest or of the lowest values are removed.
        score: ``probability`` of the class, or ``decision``, whose mean over images is the paper's accuracy.
        noise: standard deviation of the normal noise that imputed pixels get, in units of the normalised images.
        seed: of the noise.
        keys: B names of the images, so that each has its own noise, whatever its batch; without them all have the same.
        multi_label: whether an image may have several classes, as in `class_probabilities`.

    Returns:
        (B, T) scores; NaN for a degenerate map.

    Raises:
        OptionError: for no shares or some outside [0, 1), another order or score, or negative noise.
        ValueError: for maps of another size than the images, images that are not finite floats, and classes that are not one
            integer an image.

    Example:
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 10))
        >>> images, maps, targets = torch.rand(2, 3, 8, 8), torch.rand(2, 8, 8), torch.tensor([3, 7])
        >>> road_curve(model, images, maps, targets, shares=(0.1, 0.5)).shape
        torch.Size([2, 2])
    """
    if not shares:
        raise OptionError("shares", list(shares), "one or more numbers from 0 to below 1")
    images, maps = checked_images(images, maps), checked_maps(maps).detach().to(images.device)
    targets = checked_classes(targets, len(images)).to(images.device)
    ranks, pixels = saliency_ranks(maps), maps.shape[1:].numel()
    draws = KeyNoise(seed, keys, len(images))

    def versions() -> Iterator[Tensor]:
        for share in shares:
            count = math.floor(round(share * pixels, 6))  # 0.29 · 100 is slightly less than 29 in floating point
            removed = ranks < count if order == "most_relevant_first" else ranks >= pixels - count
            drawn = noise * draws.draw(images.shape[1:]).to(images.device)
            yield linear_imputation(images, removed, drawn)

    curve = class_scores(classify, versions(), targets, score, multi_label=multi_label)
    return curve.masked_fill(degenerate(maps)[:, None], torch.nan)
