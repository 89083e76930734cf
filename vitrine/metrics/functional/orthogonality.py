"""Orthogonality of x-features: O₁ and O₂ of their heatmaps' correlations (section 4.1 of Qi et al.)."""

from typing import NamedTuple

import torch
from torch import Tensor

from vitrine.metrics.functional.checks import checked_maps

ROUNDING = 64 * torch.finfo(torch.float64).eps
"""Relative rounding error of a sum over the pixels of a data set: a few roundings for each level of a pairwise sum. Smaller
relative values are taken for 0."""


class MapMoments(NamedTuple):
    """Sufficient statistics of the covariance of n heatmaps: pixel count, mean and scatter, of one image or of several.

    Example:
        >>> MapMoments(*(value[0] for value in map_moments(torch.rand(5, 3, 8, 8)))).mean.shape  # of the first image
        torch.Size([3])
    """

    pixels: Tensor
    """(…) float64: N, the number of pixels."""
    mean: Tensor
    """(…, n) float64: mean over the pixels."""
    scatter: Tensor
    """(…, n, n) float64: Σ (x − mean)(x − mean)ᵀ over the pixels, N times the covariance."""


def map_moments(maps: Tensor) -> MapMoments:
    """The moments of each image's n heatmaps, from centred values.

    Args:
        maps: (M, n, H, W).

    Returns:
        Moments with a leading dimension M.

    Raises:
        ValueError: for maps of another number of dimensions.

    Example:
        >>> map_moments(torch.rand(5, 3, 8, 8)).scatter.shape
        torch.Size([5, 3, 3])
    """
    maps = checked_maps(maps, dimensions="M, n, H, W")
    images, features = maps.shape[:2]
    mean = torch.zeros(images, features, dtype=torch.float64, device=maps.device)
    scatter = mean.new_zeros(images, features, features)
    # One image after the other: a float64 copy of all maps of a data set would not fit into memory.
    for image, of_image in enumerate(maps):
        pixels = of_image.flatten(1).double()
        mean[image] = pixels.mean(dim=1)
        centred = pixels - mean[image, :, None]
        scatter[image] = centred @ centred.T
    return MapMoments(mean.new_full((images,), maps.shape[2:].numel()), mean, scatter)


def pooled_moments(moments: MapMoments) -> MapMoments:
    """The moments over all pixels of several images: the scatter within the images plus that between their means.

    With N = Σ N_m and μ = Σ N_m μ_m / N, the scatter is Σ_m scatter_m + Σ_m N_m (μ_m − μ)(μ_m − μ)ᵀ (Chan et al. 1979).

    Args:
        moments: with a leading dimension M.

    Returns:
        Moments without it.

    Example:
        >>> maps = torch.rand(5, 3, 8, 8)
        >>> pooled = pooled_moments(map_moments(maps))
        >>> torch.allclose(pooled.mean, maps.mean(dim=(0, 2, 3)).double()), pooled.pixels.item()
        (True, 320.0)
    """
    count = moments.pixels.sum()
    mean = (moments.pixels[:, None] * moments.mean).sum(dim=0) / count
    deviation = moments.mean - mean
    between = (moments.pixels[:, None] * deviation).T @ deviation
    return MapMoments(count, mean, moments.scatter.sum(dim=0) + between)


def orthogonality_of_moments(moments: MapMoments) -> tuple[Tensor, Tensor]:
    """O₁ and O₂ of `orthogonality` from the moments of the n vectors.

    Args:
        moments: of all images, without a leading dimension.

    Example:
        >>> maps = torch.rand(5, 3, 8, 8)
        >>> o1, o2 = orthogonality_of_moments(pooled_moments(map_moments(maps)))
        >>> bool(o1 == orthogonality(maps)[0])
        True
    """
    standard_deviation = moments.scatter.diagonal().div(moments.pixels).sqrt()
    undefined = torch.full_like(moments.pixels, torch.nan)
    if not bool((standard_deviation > ROUNDING * moments.mean.abs()).all()):
        return undefined, undefined
    norms = moments.scatter.diagonal().sqrt()
    correlation = (moments.scatter / norms / norms[:, None]).fill_diagonal_(1)
    eigenvalues = torch.linalg.eigvalsh(correlation)
    o1 = (correlation.norm() - len(norms) ** 0.5).clamp(min=0)
    o2 = -eigenvalues.log().sum().clamp(max=0)
    return o1, o2.masked_fill(eigenvalues[0] <= ROUNDING * len(norms), torch.inf)


def orthogonality(maps: Tensor) -> tuple[Tensor, Tensor]:
    """O₁ = ‖P‖_F − √n and O₂ = −log det P for the correlation matrix P of n x-features' heatmaps (section 4.1 of Qi et al.).

    The maps of an x-feature over all M images are one vector, unnormalised; P is the matrix of correlation coefficients of
    the n vectors. Both are 0 at best, where P is the identity matrix, as it always is for n = 1.

    P is taken for singular where its smallest eigenvalue in float64 is at most 64 ε n: entries of P are off by a few ε and
    eigenvalues by up to n times that, so that the logarithm would be that of a rounding error. Likewise an x-feature is taken
    to have no variance where its standard deviation is at most 64 ε of its mean.

    Args:
        maps: (M, n, H, W).

    Returns:
        O₁ and O₂, () float64: O₂ is ∞ where P is singular; both are NaN where an x-feature has no variance or holds
        NaN or infinity.

    Example:
        >>> maps = torch.zeros(1, 2, 8, 8)
        >>> maps[0, 0, :, :4], maps[0, 1, :4] = 1, 1  # left half and upper half: uncorrelated
        >>> [abs(round(value.item(), 6)) for value in orthogonality(maps)]
        [0.0, 0.0]
    """
    return orthogonality_of_moments(pooled_moments(map_moments(maps)))
