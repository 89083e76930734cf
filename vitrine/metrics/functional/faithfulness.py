"""Faithfulness and orthogonality of x-features (section 4.1 of Qi et al.)."""

from typing import NamedTuple

import torch
from torch import Tensor


def absolute_difference(reconstruction: Tensor, logits: Tensor, explained_classes: Tensor) -> Tensor:
    """|ȳ − ŷ| of each image and explained class (F_reg of section 4.1 in Qi et al., before its mean).

    Args:
        reconstruction: (B, J) the heads' estimates ȳ.
        logits: (B, C) the backbone's logits ŷ.
        explained_classes: (J,) the classes that the columns of ``reconstruction`` stand for.

    Returns:
        (B, J).
    """
    return (reconstruction - logits[:, explained_classes]).abs()


def decision_kept(reconstruction: Tensor, logits: Tensor, explained_classes: Tensor) -> Tensor:
    """Whether the classification stays when one logit ŷ_j is replaced by its estimate ȳ_j (F_cls of section 4.1).

    The arguments are those of `absolute_difference`. Of equal logits the first counts as the highest, and an estimate that
    is not a number keeps nothing.

    Returns:
        (B, J) bool.
    """
    estimates = reconstruction.to(logits.dtype)
    explained = explained_classes.to(logits.device)
    decision, highest = _first_maximum(logits)
    runner_up, second = _first_maximum(logits.scatter(1, decision, -torch.inf))
    # A replaced logit meets one other alone: the highest, or the second where it is the highest itself.
    own = explained == decision
    other = torch.where(own, second, highest)
    decides = torch.where(own, estimates > other, estimates < other)
    stands_first = torch.where(own, decision <= runner_up, decision < explained)
    return decides | ((estimates == other) & stands_first)


def _first_maximum(logits: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 1) index and value."""
    index = logits.argmax(dim=1, keepdim=True)
    return index, logits.gather(1, index)


ROUNDING = 64 * torch.finfo(torch.float64).eps
"""What sums over the pixels of a data set may be off, in units of their size: a few roundings for each of the halvings of a
pairwise sum. Less than that is taken for 0."""


class MapMoments(NamedTuple):
    """Pixel count, mean and scatter of n heatmaps, of one image or of several; enough for their covariance."""

    pixels: Tensor
    """(…) float64: how many pixels N a vector has."""
    mean: Tensor
    """(…, n) float64 over the pixels."""
    scatter: Tensor
    """(…, n, n) float64: Σ (x − mean)(x − mean)ᵀ over the pixels, the covariance times N."""


def map_moments(maps: Tensor) -> MapMoments:
    """The moments of each image's n heatmaps, centred before they are squared.

    Args:
        maps: (M, n, H, W).

    Returns:
        Moments with a leading M.
    """
    # Image by image: float64 copies of the maps of a whole data set would not fit.
    each = [_of_one_image(image.flatten(1).double()) for image in maps]
    mean, scatter = (torch.stack(values) for values in zip(*each, strict=True))
    return MapMoments(mean.new_full((len(maps),), maps[0, 0].numel()), mean, scatter)


def _of_one_image(pixels: Tensor) -> tuple[Tensor, Tensor]:
    mean = pixels.mean(dim=1)
    centred = pixels - mean[:, None]
    return mean, centred @ centred.T


def pooled_moments(moments: MapMoments) -> MapMoments:
    """The moments of several images as of one vector an x-feature: those within images, and those between their means.

    With N = Σ N_m and μ = Σ N_m μ_m / N, the scatter is Σ_m scatter_m + Σ_m N_m (μ_m − μ)(μ_m − μ)ᵀ (Chan et al. 1979).

    Args:
        moments: with a leading M.
    """
    count = moments.pixels.sum()
    mean = (moments.pixels[:, None] * moments.mean).sum(dim=0) / count
    apart = moments.mean - mean
    between = (moments.pixels[:, None] * apart).T @ apart
    return MapMoments(count, mean, moments.scatter.sum(dim=0) + between)


def orthogonality_of_moments(moments: MapMoments) -> tuple[Tensor, Tensor]:
    """O₁ and O₂ of `orthogonality` from the moments of the n vectors.

    Args:
        moments: of all images, without a leading dimension.
    """
    deviation = moments.scatter.diagonal().div(moments.pixels).sqrt()
    nothing = torch.full_like(moments.pixels, torch.nan)
    if not bool((deviation > ROUNDING * moments.mean.abs()).all()):
        return nothing, nothing
    unit = moments.scatter.diagonal().sqrt()
    correlation = (moments.scatter / unit / unit[:, None]).fill_diagonal_(1)
    spectrum = torch.linalg.eigvalsh(correlation)
    o1 = (correlation.norm() - len(unit) ** 0.5).clamp(min=0)
    o2 = -spectrum.log().sum().clamp(max=0)
    return o1, o2.masked_fill(spectrum[0] <= ROUNDING * len(unit), torch.inf)


def orthogonality(maps: Tensor) -> tuple[Tensor, Tensor]:
    """O₁ = ‖P‖_F − √n and O₂ = −log det P of the correlations P of n x-features' heatmaps (section 4.1 of Qi et al.).

    The maps of an x-feature over all M images are one vector, as they are; P is the matrix of correlation coefficients of
    the n vectors. Both figures are 0 at best, where P is the unit matrix. n = 1 gives 0 for both.

    P is taken for singular where its least eigenvalue in float64 is no more than 64 ε n: entries of P are off by some ε, and
    eigenvalues by n times that at most. Below it the logarithm would be that of a rounding error. By the same measure an
    x-feature has no variance where its standard deviation is no more than 64 ε of its mean.

    Args:
        maps: (M, n, H, W).

    Returns:
        O₁ and O₂, () float64: ∞ for O₂ where P is singular, NaN for both where an x-feature has no variance or holds NaN or
        infinity.
    """
    return orthogonality_of_moments(pooled_moments(map_moments(maps)))
